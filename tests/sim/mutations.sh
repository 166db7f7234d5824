#!/bin/bash
# mutations.sh OUT [NAME...]: does the simulator notice when the protocol is broken? Breaks it on
# purpose, one way at a time, in copies of the sources below OUT, and runs up to SEEDS (1000) seeds
# of each until some fail; or, if the line names an aim (tests/sim/aim.h), up to AIMED (200) seeds of
# that. Fails when one passes them all, or when a break no longer fits the code.
set -u
cd "$(dirname "$0")/../.."
out=${1:-build/mutations}
shift
only=" $* "
seeds=${SEEDS:-1000}
aimed=${AIMED:-200}
cflags="-std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -O1 -g -w"
libs="-lrocksdb -luv -lraft -lisal -linih -lssl -lcrypto -lpthread"

# name, file, aim or -, perl substitution on the whole file. Where two places do the same, so that
# either is enough: two files with a + between them, two substitutions with a @@
mutations() {
	cat <<'END'
forget-reply dht/node/sess.c - s/return numbers_has\(&s->stored, number\);/return false;/
forget-floor dht/node/sess.c - s/return number < s->floor \|\| is_abandoned\(s, number\);/return false;/
forget-reply-at-start dht/node/sess.c - s/numbers_add\(&s->stored, number\);\n\traise_floor/raise_floor/
lose-reply dht/node/single.c - s/sess_reply_put\(home->sess/if (0) $&/
vote-before-the-disk dht/node/prepare.c - s/durable_start\(x->r.n, &x->durable[^;]*;/vote_synced(&x->durable, 0);/
vote-without-record dht/node/prepare.c - s/effect_put\(e, key.b, key.len, n->tmp.data, n->tmp.len\);//
vote-without-locks dht/node/intent.c - s/lock_take\(&node_shard[^;]*;/p->owner.nlocks = 0;/
no-locks-for-transactions dht/node/single.c - s/if \(lock_conflict\(&s->locks, &x->v, NULL\)\)/if (0)/
no-locks-for-votes dht/node/prepare.c - s/held = lock_conflict\([^;]*;/held = NULL;/
no-gate dht/node/exec.c - s/x->parts\[i\]\.shard->gate = &x->r;/;/
outcome-before-the-disk dht/node/decide.c - s/if \(x->commit && !rc\)\n\t\tanswer_synced\(x\);/if (x->commit && !rc) {\n\t\treq_answer(&x->r, x->f);\n\t\tx->f = NULL;\n\t}/
commit-again-after-a-start dht/node/decide.c - s/effect_del\(e, k.b, k.len\);// && s/effect_put\(e, k.b, k.len, n->tmp.data, n->tmp.len\);//
commit-drops-the-writes dht/node/decide.c - s/exec_evaluate\(x, TXN_COMMIT, NODE_STORED_MAX\);/exec_begin(x);\n\t\tx->f = reply_new(r->n, WIRE_OK, 0, 0);\n\t\tx->results_from = x->f->b.len;\n\t\tdecide_record(x, p);/
break-a-promise dht/node/decide.c breaks-its-word s/if \(!x->commit && p->promised && !x->ours\)/if (0)/
doubt-means-abort dht/node/doubt.c - s/\(!d->unknown && !d->unclear\)/0/ && s/else if \(d->unknown\)/else if (!d->unclear)/
doubt-means-commit dht/node/doubt.c - s/if \(d->committed \|\|/if (1 ||/
unknown-but-not-recorded dht/node/decide.c - s/decide_start\(n, NULL, NULL, &abort_it, true, true\);\n/{\n\t\t\treq_status(r, WIRE_UNKNOWN);\n\t\t\treturn;\n\t\t}\n/
presumed-beats-a-vote dht/node/decide.c asked-too-early s/if \(x->presumed\) \{/if (0) {/
nobody-asks dht/node/doubt.c - s/env_timer_set\(n->env, &n->doubt_timer, due\);//
sync-says-yes dht/node/admin.c synced-in-the-dark s/status = WIRE_LOST;//
sync-without-sync dht/node/admin.c - s/durable_start\(n, &q->durable[^;]*;/sync_done(&q->durable, 0);/
terms-again dht/node/shard.c - s/\*term = s->term;/*term = 1;/
ack-before-the-backups dht/node/repl.c - s/if \(c->required && c->acked < all\)/if (0)/
ack-before-one-backup dht/node/repl.c one-is-behind s/if \(c->required && c->acked < all\)/if (c->required && i == 0 && c->acked < all)/
no-lease-wait dht/node/takeover.c - s/if \(lease_over\(n, s, &when\)\)/if (1)/
answer-without-a-lease dht/node/lease.c stale-reads s/if \(!c->required \|\| c->peer->lease_until > now\)/if (1)/
a-restarted-member-counts dht/node/copy.c counted-again s/incarnation && c->incarnation != incarnation/0/
the-shorter-history dht/node/takeover.c all-dark s/longer\(&c->told, &best\)/longer(&best, &c->told) && 0/
requests-of-an-older-map dht/node/exec.c late-request s/x->m.epoch < s->since/0/
sync-here-alone dht/node/durable.c synced-in-the-dark s/wait_for\(d, p\);//
several-shards-in-one-record dht/node/exec.c more-copies s/if \(x->exclusive && !one_log\(x\)\)/if (0)/
forget-who-lost-a-shard dht/node/repl.c - s/req_lose\(n\);//
forgets-leases-it-gave dht/node/lease.c forgotten-lease s/if \(n->ring->nnodes > 1 && now < start\)/if (0)/
lease-by-another-map dht/node/lease.c hears-late s/m\.epoch == n->ring->epoch/1/
forget-replies-at-takeover dht/node/takeover.c - s/KEY_FLOOR, KEY_REPLY, KEY_PREPARED, KEY_OUTCOME/KEY_FLOOR, KEY_PREPARED, KEY_OUTCOME/
forget-votes-at-takeover dht/node/takeover.c - s/KEY_REPLY, KEY_PREPARED, KEY_OUTCOME/KEY_REPLY/
no-gap-hold dht/node/backup.c joins s/(if \(sec->seq > h\.seq \+ \(sec->meta_len \? 1 : 0\)\))\n\t\t\tbreak;/$1 {\n\t\t\tTAILQ_REMOVE(&s->early, sec, entry);\n\t\t\tfinish(sec, 0);\n\t\t\tcontinue;\n\t\t}/
serves-before-all-are-level dht/node/takeover.c half-sent s/if \(t->at == TAKE_LEVEL && all_level\(n, s\)\)/if (t->at == TAKE_LEVEL)/ && s/\|\| !all_level\(n, s\)//
effects-of-older-terms dht/node/backup.c speaks-late s/if \(m\.shard_term != s->term \|\|.*?c->node\)\) \{/if (m.shard_term > s->term) {/s
joins-without-sync dht/node/copy.c+dht/node/learn.c joins-in-the-dark s/level_sync_start\(n, c\);/{\n\t\t\tvoid (*level)(void *, int) = c->level;\n\t\t\tc->level = NULL;\n\t\t\tlevel(c->level_arg, 0);\n\t\t}/ @@ s/sync_then\(l, do_say\);/do_say(l);/
joins-before-it-is-level dht/node/appeal.c+dht/node/teach.c joins s/!c \|\| !c->required \|\| c->member/!c || c->member/ @@ s/!l->level \|\| m.seq < l->level_seq/0/
walk-deletes-nothing dht/node/learn_walk.c - s/delete_key\(w, o->key, o->klen\);//
dead-without-survivors dht/keeper/judge.c silent-and-dark s/if \(n > 0 && !survivors_live\(k, d, dead\)\)/if (0)/ && s/find_dead\(k, m, now, dead\) && survivors_live\(k, m, dead\)/1/
surplus-to-the-dead dht/ring/plan_step.c fewer-copies s/w->said\[node\] >= \*since/1/
surplus-to-a-failed-log dht/node/keep.c fewer-copies s/if \(node_broken\(n\)\)\n\t\treturn;/;/
same-term-again dht/ring/plan.c+dht/node/grant.c comes-back s/e\.renew = back && e\.primary == node;/;/ @@ s/s->grants = NULL;/s->grants = NULL;\n\ts->grants_made = 0;/
fenced-but-waiting dht/node/exec.c waits-in-vain s/!x->any_epoch && session_ended\(x->r\.n, x->m\.session\)/0/
lost-power-but-whole dht/node/keep.c all-dark s/if \(store_info\(n->st\)->whole\)/if (1)/
forgets-with-strays dht/node/intent.c strays s/if \(o->forgotten && !o->strays\)/if (o->forgotten)/
nothing-is-repaired dht/node/exec.c - s/rc == -EIO && repair_exec\(x\)/0/
backups-stay-damaged dht/node/teach_read.c - s/q->mends = m\.token \|\| c->role == WIRE_ROLE_ADMIN/q->mends = false/
nobody-erases dht/node/erase.c - s/if \(!may_go\(n, i, nodes\)\)/if (1)/
erases-all-but-replies dht/store/clear.c - s/class != KEY_STORE && class != KEY_TERM/$& && class != KEY_REPLY/
no-checksums dht/store/read.c - s/if \(crc != le32toh\(want\)\)/if (0)/
recovery-believes-all dht/store/recover.c - s/return !record_check_data\([^;]*;/return 1;/
removes-the-last-segment dht/store/flush.c brim s/ && s->start \+ s->size < st->tail;/;/
floor-passes-all dht/client/session.c - s/return n \? n->n : s->next;/return s->next;/
gives-up-silently dht/client/session.c - s/(void number_abandon\(struct session \*s, struct number \*n\)\n\{)/$1\n\tnumber_finish(s, n);\n\treturn;/
one-yes-is-enough dht/client/commit.c - s/if \(all_yes\(cm\)\)/if (1)/
no-is-yes dht/client/commit.c - s/\} else if \(m.status == WIRE_OK\) \{/} else if (m.status == WIRE_OK || m.status == WIRE_RETRY) {/ && s/if \(m.status == WIRE_OK\)\n\t\tkeep_vote/if (m.status == WIRE_OK || m.status == WIRE_RETRY)\n\t\tkeep_vote/
forgets-too-early dht/client/commit.c decided-late s/(\t\tdecide\(p, true\);\n)/$1\t\tforget_part(p, false);\n/
forgets-losses dht/client/sync.c - s/k->sync->rc = m.status == WIRE_LOST \? -EIO :/k->sync->rc = m.status == WIRE_LOST ? 0 :/
sleeps-for-ever dht/client/client.c - s/if \(r->ops->retry\)\n\t\t\tr->ops->retry\(r\);\n\t\telse\n\t\t\trequest_stalled\(r\);/request_stalled(r);/
lease-changes-without-recall dht/node/grant.c - s/\t\twait = true;\n\t\}\n\tdrop_pending/\t}\n\tdrop_pending/
lease-granted-to-all dht/node/grant.c remembers-alone s/if \(h->by->key.session != session && meets\(h->mode, need\)\)\n\t\t\treturn false;/;/
lease-of-what-is-being-changed dht/node/grant.c - s/if \(!p->firm && \(all \|\|/if (0 \&\& (all ||/
lease-not-recorded dht/node/holding.c - s/if \(mode <= l->recorded\)/if (1)/
lease-without-holding dht/node/grant.c - s/if \(!count \|\| need == NEED_NOTHING\)/if (1)/
lease-passes-before-the-fence dht/node/recall.c - s/\t\t\treport\(n, s, now\);/\t\t\tgrants_over(n, s->session);/
lease-return-of-an-older-one dht/node/recall.c remembers-alone s/if \(h->by != l \|\| one->number < h->number\)/if (h->by != l)/
lease-for-ever dht/client/lease.c remembers-alone s/env_now\(c->env\) < s->valid \? s->valid : 0/1 ? UINT64_MAX : 0/
lease-unheard dht/client/lease.c takes-its-time s/if \(e->asker\)\n\t\t\tsay_kept/if (0)\n\t\t\tsay_kept/
lease-of-what-a-vote-has-read dht/node/grant.c reads-early s/mode == WIRE_LEASE_EXCLUSIVE \? lock_conflict_write\(&s->locks, id\)\s*: //
END
}

compile() { # folder, source: the object beside the others
	(cd "$1" && gcc $cflags -I. -c "$2" -o "obj/${2//\//_}.o")
}

base=$out/base
rm -rf "$out"
mkdir -p "$base/obj"
cp -r dht "$base"
mkdir "$base/tests" && cp -r tests/sim "$base/tests"
(cd "$base" && ls dht/*/*.c tests/sim/*.c) | cflags=$cflags base=$base xargs -P"$(nproc)" -I{} sh -c \
	'cd "$base" && gcc $cflags -I. -c {} -o obj/$(echo {} | tr / _).o' || exit 1

break_it() { # folder, file, substitution
	cmp -s "$base/$2" "$1/$2" || return 0 # the only one, which is broken by now
	perl -0pi -e "$3 or exit 3" "$1/$2" || return 1
	! cmp -s "$base/$2" "$1/$2" && compile "$1" "$2"
}

caught=0 missed=0
try() { # name, file, aim, substitution
	local dir=$out/$1 first=1 failed=0 most=$seeds opts= bin

	[ "$3" = - ] || most=$aimed opts="--aim $3"
	mkdir -p "$dir"
	cp -r "$base/dht" "$base/tests" "$base/obj" "$dir"
	if ! break_it "$dir" "${2%%+*}" "${4%% @@ *}" || ! break_it "$dir" "${2##*+}" "${4##* @@ }"; then
		echo "MISSED $1: it does not fit $2 any more"
		missed=$((missed + 1))
		return
	fi
	bin=$dir/sim
	gcc "$dir"/obj/*.o $libs -o "$bin" || exit 1
	while [ $failed -eq 0 ] && [ $first -le "$most" ]; do
		failed=$("$bin" $opts --first $first --seeds 100 2>"$dir/log" |
			sed -n 's/^.* passed, \([0-9]*\) failed$/\1/p')
		first=$((first + 100))
	done
	if [ "${failed:-0}" -eq 0 ]; then
		echo "MISSED $1: $((first - 1)) seeds pass"
		missed=$((missed + 1))
		return
	fi
	printf 'caught %-26s %3d of seeds %d..%d: %s\n' "$1" "$failed" $((first - 100)) $((first - 1)) \
		"$(grep -o 'SEED=[0-9]* at.*\|seed [0-9]* CRASHED.*' "$dir/log" | head -1 | cut -c1-110)"
	caught=$((caught + 1))
	rm -rf "$dir"
}

while read -r name file aim change; do
	[ "$only" = "  " ] || [[ $only = *" $name "* ]] || continue
	try "$name" "$file" "$aim" "$change"
done < <(mutations)
echo "$caught passed, $missed failed"
[ $missed -eq 0 ]

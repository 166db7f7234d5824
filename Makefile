# orbitfs: build, test, run. `make help` lists the targets.

SHELL    := /bin/bash
BUILD    ?= build
VARIANT  ?=
OUT      := $(BUILD)$(if $(VARIANT),/$(VARIANT))
BIN      := $(OUT)/bin
JOBS     ?= $(shell nproc)

CC       ?= gcc
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
            -Wvla -Wundef -Wwrite-strings -Werror
CFLAGS   ?= -O2 -g
CPPFLAGS += -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. -DFUSE_USE_VERSION=314 \
            -I/usr/include/fuse3
LDLIBS   := -lfuse3 -lrocksdb -luv -lraft -lisal -linih -lssl -lcrypto -lpthread

ifeq ($(VARIANT),asan)
CFLAGS   += -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
LDFLAGS  += -fsanitize=address,undefined
endif
ifeq ($(VARIANT),tsan)
CFLAGS   += -O1 -fsanitize=thread -fno-omit-frame-pointer
LDFLAGS  += -fsanitize=thread
endif
ifeq ($(VARIANT),fuzz)
CC       := clang
CFLAGS   += -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
LDFLAGS  += -fsanitize=fuzzer,address,undefined
endif

ROOMS    := $(wildcard dht/*) $(wildcard fs/*)
LIB_SRC  := $(foreach r,$(ROOMS),$(wildcard $(r)/*.c))
LIB_OBJ  := $(LIB_SRC:%.c=$(OUT)/%.o)
LIB      := $(OUT)/liborbitfs.a

COMMON   := $(wildcard tools/common/*.c)
TOOLS    := orbitfs orbitd orbitctl fsck.orbitfs
HAVE     := $(foreach t,$(TOOLS),$(if $(wildcard tools/$(t)/*.c),$(t)))
TOOL_BIN := $(HAVE:%=$(BIN)/%)

UNIT     := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
UNIT_BIN := $(UNIT:%=$(OUT)/tests/unit/%)
SIM_SRC  := $(wildcard tests/sim/*.c)
SIM_LIB  := $(filter-out tests/sim/main.c,$(SIM_SRC))
SIM_BIN  := $(if $(wildcard tests/sim/main.c),$(OUT)/tests/sim/sim)
MODEL_SRC:= $(wildcard tests/model/*.c)
MODEL_BIN:= $(if $(MODEL_SRC),$(OUT)/tests/model/model)
CRASH_SRC:= $(wildcard tests/crash/*.c)
CRASH_BIN:= $(if $(CRASH_SRC),$(OUT)/tests/crash/crash)
FUZZ     := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BIN := $(FUZZ:%=$(OUT)/tests/fuzz/%)
HELP_BIN := $(patsubst %.c,$(OUT)/%,$(wildcard tests/integration/*.c))
POSIX_SRC:= $(wildcard tests/posix/*.c)
POSIX_BIN:= $(OUT)/tests/posix/posix-suite

DEPS     := gcc make libc6-dev libfuse3-dev fuse3 librocksdb-dev libuv1-dev libraft-dev \
            libisal-dev libinih-dev libssl-dev uthash-dev libbsd-dev
DEV_DEPS := libcmocka-dev clang-format attr sqlite3
APP_DEPS := postgresql stress-ng fio dbench bonnie++ git sqlite3
FUZZ_DEPS:= clang libclang-rt-14-dev

# One line per test program, all of its output when it fails; counts are kept for the sum.
RESULTS  := $(OUT)/results
RUN      := tests/run.sh $(RESULTS)

.PHONY: all
all: $(TOOL_BIN) ## build the programs into build/bin

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: deps dev-deps
deps: ## install missing Debian packages
	@tests/deps.sh $(DEPS)

dev-deps: deps
	@tests/deps.sh $(DEV_DEPS)

# ---- compiling ----

$(OUT)/%.o: %.c | deps
	@mkdir -p $(@D)
	@echo "  CC $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(WARN) -MMD -MP -c $< -o $@

$(OUT)/tests/%.o: | dev-deps

$(LIB): $(LIB_OBJ)
	@mkdir -p $(@D)
	@rm -f $@
	@ar rcs $@ $^

define tool_rule
$(BIN)/$(1): $$(patsubst %.c,$(OUT)/%.o,$$(wildcard tools/$(1)/*.c) $(COMMON)) $(LIB)
	@mkdir -p $$(@D)
	@echo "  LD $$@"
	@$(CC) $(CFLAGS) $(LDFLAGS) $$^ $(LDLIBS) -o $$@
endef
$(foreach t,$(HAVE),$(eval $(call tool_rule,$(t))))

$(OUT)/libsim.a: $(SIM_LIB:%.c=$(OUT)/%.o)
	@rm -f $@
	@ar rcs $@ $^

$(OUT)/tests/unit/test_%: $(OUT)/tests/unit/test_%.o $(OUT)/libsim.a $(LIB)
	@echo "  LD $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@

# the only unit test that looks into programs
$(OUT)/tests/unit/test_tools: $(patsubst %.c,$(OUT)/%.o,tests/unit/test_tools.c tools/orbitfs/options.c \
		tools/orbitd/config.c $(COMMON)) $(LIB)
	@echo "  LD $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@

$(OUT)/tests/sim/sim: $(SIM_SRC:%.c=$(OUT)/%.o) $(LIB)
	@echo "  LD $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

$(OUT)/tests/model/model: $(MODEL_SRC:%.c=$(OUT)/%.o) $(OUT)/libsim.a $(LIB)
	@echo "  LD $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

$(OUT)/tests/crash/crash: $(CRASH_SRC:%.c=$(OUT)/%.o) $(OUT)/libsim.a $(LIB)
	@echo "  LD $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

$(OUT)/tests/fuzz/fuzz_%: $(OUT)/tests/fuzz/fuzz_%.o $(LIB)
	@echo "  LD $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

$(OUT)/tests/integration/%: tests/integration/%.c | dev-deps
	@mkdir -p $(@D)
	@echo "  LD $@"
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) $(WARN) $< -lpthread -o $@

# wrong arguments are what it is about
$(OUT)/tests/posix/%.o: WARN += -Wno-stringop-overflow -Wno-stringop-overread -Wno-nonnull
$(POSIX_BIN): $(POSIX_SRC:%.c=$(OUT)/%.o)
	@echo "  LD $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) $^ -o $@

# ---- testing ----

.PHONY: lint
lint: | dev-deps ## check layers, format and forbidden calls (warnings are errors in every build)
	@tests/lint/lint.sh $(RESULTS)

# one unit test: make unit-buf runs tests/unit/test_buf.c
unit-%: $(OUT)/tests/unit/test_%
	@$<

.PHONY: build-unit build-sim build-model build-crash build-crash-quick build-integration
build-unit: $(UNIT_BIN)
build-sim: $(SIM_BIN)
build-model: $(MODEL_BIN)
build-crash build-crash-quick: $(CRASH_BIN)
build-integration: all $(HELP_BIN) $(POSIX_BIN)

.PHONY: unit
unit: build-unit ## build and run the unit tests
	@rc=0; for t in $(UNIT_BIN); do $(RUN) 300 $${t##*/} $$t || rc=1; done; exit $$rc

.PHONY: sim
sim: build-sim ## run the simulator: SEEDS=n how many, SEED=n replays one, AIM=name aims at one thing
	@[ -z "$(SIM_BIN)" ] || $(RUN) 600 sim $(SIM_BIN) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(SEED),--seed $(SEED)) $(if $(AIM),--aim $(AIM))

.PHONY: model
model: build-model ## random file operations on several mounts beside a model: SEEDS=n how many, SEED=n shows one
	@$(RUN) 600 model $(MODEL_BIN) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(SEED),--seed $(SEED))

.PHONY: crash crash-quick
crash: build-crash ## power lost before every change of a disk, in all sequences of three file operations (minutes)
	@$(CRASH_BIN) --all --seed $(or $(SEED),1)

crash-quick: build-crash ## a part of it
	@$(RUN) 300 crash $(CRASH_BIN) $(if $(VARIANT),--few)

.PHONY: crash-mutations
crash-mutations: | deps ## break what power loss needs in many ways, each of which has to be noticed: T="name ..."
	@tests/crash/mutations.sh $(OUT)/crash-mutations $(T)

.PHONY: sim-scale
sim-scale: build-sim ## figures about big clusters: 1,000 nodes, 16,384 shards (docs/SCALE.md)
	@$(SIM_BIN) --scale

.PHONY: sim-mutations
sim-mutations: | deps ## break the protocol in many ways, each of which the simulator has to notice: T="name ..."
	@tests/sim/mutations.sh $(OUT)/mutations $(T)

.PHONY: integration
integration: build-integration ## mount for real and try everything: T="name ..." only these
	@OUT=$(OUT) tests/integration/run.sh $(RESULTS) $(T)

.PHONY: apps
apps: build-integration ## other people's programs on mounts (tests/apps; not in check): T="postgres tools shared"
	@tests/deps.sh $(APP_DEPS)
	@FOLDER=tests/apps OUT=$(OUT) tests/integration/run.sh $(RESULTS) $(T)

# DIR=... only there; T="open rename:exchange" only these; ARGS="-v -s" of posix-suite
.PHONY: posix
posix: build-integration ## the conformance suite on a plain directory and on a mount, or on DIR=...
	@OUT=$(OUT) tests/posix/run.sh "$(DIR)" $(ARGS) -- $(T)

.PHONY: check
check: ## from clean: lint, build, and all tests; ends with their sum
	@tests/check.sh "$(MAKE) --no-print-directory BUILD=$(BUILD) VARIANT=$(VARIANT)" $(OUT) $(JOBS) lint all unit sim model crash-quick integration

.PHONY: check-asan
check-asan: ## unit tests and simulator under AddressSanitizer and UBSan
	@tests/check.sh "$(MAKE) --no-print-directory BUILD=$(BUILD) VARIANT=asan" $(BUILD)/asan $(JOBS) unit sim model crash-quick

.PHONY: check-tsan
check-tsan: ## unit tests and simulator under ThreadSanitizer
	@TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan.supp tests/check.sh "$(MAKE) --no-print-directory BUILD=$(BUILD) VARIANT=tsan" $(BUILD)/tsan $(JOBS) unit sim model crash-quick

.PHONY: fuzz
fuzz: ## run each fuzzer for FUZZ_SECONDS=30
	@tests/deps.sh $(FUZZ_DEPS)
	@$(MAKE) --no-print-directory VARIANT=fuzz -j$(JOBS) run-fuzz

.PHONY: run-fuzz
run-fuzz: $(FUZZ_BIN)
	@rc=0; for f in $(FUZZ_BIN); do c=$(OUT)/corpus/$${f##*/}; mkdir -p $$c; \
	$(RUN) $$(($(or $(FUZZ_SECONDS),30) + 60)) $${f##*/} $$f -max_total_time=$(or $(FUZZ_SECONDS),30) \
		-artifact_prefix=$(OUT)/ $$c $(wildcard tests/fuzz/corpus) || rc=1; done; exit $$rc

.PHONY: bench
bench: all ## measure against a plain directory and libfuse's passthrough
	@tests/bench/bench.sh $(OUT)

# ---- running ----

QUICK    := BIN=$(BIN) DIR="$(DIR)" MNT="$(MNT)" GIVEN="$(if $(DIR), DIR=$(DIR))$(if $(MNT), MNT=$(MNT))$(if $(filter-out build,$(BUILD)), BUILD=$(BUILD))"
.PHONY: quickstart quickstop
quickstart: ## build, make a filesystem and mount it: DIR=data MNT=mountpoint NODES=n R=copies
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@$(QUICK) NODES="$(NODES)" R="$(R)" tools/quickstart.sh start

quickstop: ## unmount and end what quickstart started, same DIR and MNT
	@$(QUICK) tools/quickstart.sh stop

PREFIX   ?= /usr/local
SBIN     ?= /sbin
.PHONY: install
install: all ## install below DESTDIR, programs to PREFIX=/usr/local, mount helpers to /sbin
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(SBIN) \
		$(DESTDIR)$(PREFIX)/share/man/man8
	install $(BIN)/orbitctl $(DESTDIR)$(PREFIX)/bin
	install $(BIN)/orbitfs $(BIN)/orbitd $(DESTDIR)$(PREFIX)/sbin
	install $(BIN)/orbitfs $(DESTDIR)$(SBIN)/mount.orbitfs
	if [ -e $(BIN)/fsck.orbitfs ]; then install $(BIN)/fsck.orbitfs $(DESTDIR)$(SBIN); fi
	install -m 644 docs/man/*.8 $(DESTDIR)$(PREFIX)/share/man/man8

.PHONY: format
format: | dev-deps ## format all C sources with clang-format
	@clang-format -i $$(git ls-files -co --exclude-standard '*.c' '*.h')

.PHONY: clean
clean: ## remove build/
	rm -rf $(BUILD)

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
.SECONDARY:

/* The suite itself: cases that go wrong on purpose, to see that it says so (posix-suite DIR self).
 */
#include "tests/posix/posix.h"

#include <signal.h>

CASE(passes, SELF)
{
	ok(mkdir("left", 0));
	ok(close(ok(creat("behind", 0))));
	check(true);
}

CASE(differs_with_a_reason, SELF)
{
	differs("a reason");
}

CASE(check_fails_and_goes_on, SELF)
{
	check(1 > 2);
	equal(1, 2);
}

CASE(ok_fails_and_ends_it, SELF)
{
	ok(open("none", O_RDONLY));
	check(!"never reached");
}

CASE(wrong_errno, SELF)
{
	expect(open("none", O_RDONLY), EACCES);
}

CASE(no_error_at_all, SELF)
{
	expect(access(".", F_OK), EACCES);
}

CASE(child_fails, SELF)
{
	CHILD () {
		check(1 > 2);
	}
}

CASE(child_dies, SELF)
{
	CHILD () {
		raise(SIGKILL);
	}
}

CASE(dies, SELF)
{
	raise(SIGKILL);
}

CASE(hangs, SELF)
{
	if (beside() == 0)
		for (;;)
			pause();
	for (;;)
		pause();
}

CASE(times_that_do_not_change, SELF)
{
	file("f", "x");
	stamps("f", MTIM, ok(access("f", F_OK)));
}

CASE(times_that_change, SELF)
{
	file("f", "x");
	stamps("f", 0, ok(chmod("f", 0600)));
}

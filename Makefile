# orbitfs: build, test, run. `make help` lists the targets.

SHELL    := /bin/bash
BUILD    ?= build
VARIANT  ?=
OUT      := $(BUILD)$(if $(VARIANT),/$(VARIANT))
BIN      := $(OUT)/bin

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

DEPS     := gcc make pkg-config libfuse3-dev fuse3 librocksdb-dev libuv1-dev libraft-dev libisal-dev \
            libcmocka-dev libinih-dev libssl-dev uthash-dev libbsd-dev

.PHONY: all
all: $(TOOL_BIN) ## build the programs into build/bin

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## install missing Debian packages
	@tests/deps.sh $(DEPS)

$(OUT)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(WARN) -MMD -MP -c $< -o $@

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

$(OUT)/tests/unit/test_%: $(OUT)/tests/unit/test_%.o $(SIM_LIB:%.c=$(OUT)/%.o) $(LIB)
	@echo "  LD $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@

$(OUT)/tests/sim/sim: $(SIM_SRC:%.c=$(OUT)/%.o) $(LIB)
	@echo "  LD $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

# one unit test: make unit-buf runs tests/unit/test_buf.c
unit-%: $(OUT)/tests/unit/test_%
	@$<

.PHONY: unit
unit: $(UNIT_BIN) ## build and run the unit tests
	@set -e; for t in $(UNIT_BIN); do timeout 300 $$t; done

.PHONY: format
format: ## format all C sources with clang-format
	@clang-format -i $$(git ls-files -co --exclude-standard '*.c' '*.h')

.PHONY: clean
clean: ## remove build/
	rm -rf $(BUILD)

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
.SECONDARY:

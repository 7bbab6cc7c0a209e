# The library for C and C++ programs. Needs cargo and a C linker.
#
#     make                      build libsocketpool.a and libsocketpool.so
#     make install PREFIX=…     install them with headers, socketpool.pc and a CMake package; DESTDIR is honoured
#     make uninstall PREFIX=…   take exactly these away again
#
# The headers go, as they stand in include/, into a folder of their own, so that core/ and poll/ are nobody else's:
# INCLUDEDIR/socketpool-0, which pkg-config and CMake give to the compiler. What includes a header from the source tree
# with `-I include` includes it from there by the same name.

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
CARGO ?= cargo
INSTALL ?= install
TARGET ?= target/c
# `dev` builds faster, with every assertion.
PROFILE ?= release

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# Changes when programs that were linked before would not run any more.
ABI := 0
SONAME := libsocketpool.so.$(ABI)
# What the static library needs of the system.
LIBS_PRIVATE := -lpthread -ldl -lm

BUILT := $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
HEADERS := $(sort $(patsubst include/%,%,$(wildcard include/*.hpp include/*/*.h)))
HEADERDIR = $(INCLUDEDIR)/socketpool-$(ABI)
HEADERDIRS = $(HEADERDIR) $(addprefix $(HEADERDIR)/,$(patsubst %/,%,$(sort $(filter-out ./,$(dir $(HEADERS))))))
CMAKEDIR = $(LIBDIR)/cmake/socketpool

# socketpool.pc names what lies below the prefix by it, so that the whole can be moved.
FILL = sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@ABI@|$(ABI)|' -e 's|@SONAME@|$(SONAME)|' \
	-e 's|@LIBS_PRIVATE@|$(LIBS_PRIVATE)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@HEADERDIR@|$(HEADERDIR)|' \
	-e 's|@PC_LIBDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(LIBDIR))|' \
	-e 's|@PC_INCLUDEDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(INCLUDEDIR))|'

# A path with a space would be two to make, and a relative one would be another place for whoever reads the installed files.
ifneq (,$(filter install uninstall,$(MAKECMDGOALS)))
ifneq (1 1,$(words $(LIBDIR)) $(words $(INCLUDEDIR)))
$(error PREFIX, LIBDIR and INCLUDEDIR must be paths without spaces: LIBDIR is "$(LIBDIR)", INCLUDEDIR is "$(INCLUDEDIR)")
endif
ifneq (2,$(words $(filter /%,$(LIBDIR) $(INCLUDEDIR))))
$(error PREFIX must be a whole path, from / on: LIBDIR is "$(LIBDIR)", INCLUDEDIR is "$(INCLUDEDIR)")
endif
ifneq (,$(word 2,$(DESTDIR)))
$(error DESTDIR must be a path without spaces, and is "$(DESTDIR)")
endif
endif

all: build

build:
	$(CARGO) rustc --locked --profile $(PROFILE) --lib --features capi --crate-type staticlib,cdylib \
		--target-dir $(TARGET) -- -C link-arg=-Wl,-soname,$(SONAME)

install: build
	$(INSTALL) -d $(addprefix $(DESTDIR),$(LIBDIR)/pkgconfig $(CMAKEDIR) $(HEADERDIRS))
	$(INSTALL) -m 644 $(BUILT)/libsocketpool.a $(DESTDIR)$(LIBDIR)/libsocketpool.a
	$(INSTALL) -m 755 $(BUILT)/libsocketpool.so $(DESTDIR)$(LIBDIR)/libsocketpool.so.$(VERSION)
	ln -sf libsocketpool.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libsocketpool.so
	for header in $(HEADERS); do \
		$(INSTALL) -m 644 include/$$header $(DESTDIR)$(HEADERDIR)/$$header || exit 1; done
	$(FILL) include/socketpool.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/socketpool.pc
	$(FILL) include/socketpool-config.cmake.in > $(DESTDIR)$(CMAKEDIR)/socketpool-config.cmake
	$(FILL) include/socketpool-config-version.cmake.in > $(DESTDIR)$(CMAKEDIR)/socketpool-config-version.cmake

# Folders go when nothing of anybody else's is in them; those that every package shares stay.
uninstall:
	rm -f $(addprefix $(DESTDIR)$(LIBDIR)/,libsocketpool.a libsocketpool.so $(SONAME) libsocketpool.so.$(VERSION))
	rm -f $(DESTDIR)$(LIBDIR)/pkgconfig/socketpool.pc $(addprefix $(DESTDIR)$(HEADERDIR)/,$(HEADERS))
	rm -f $(addprefix $(DESTDIR)$(CMAKEDIR)/,socketpool-config.cmake socketpool-config-version.cmake)
	-rmdir $(addprefix $(DESTDIR),$(filter-out $(HEADERDIR),$(HEADERDIRS)) $(HEADERDIR) $(CMAKEDIR)) 2>/dev/null

.PHONY: all build install uninstall

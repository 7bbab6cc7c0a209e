# The library for C and C++ programs. Needs cargo and a C linker.
#
#     make                      build libsocketpool.a and libsocketpool.so
#     make install PREFIX=…     install them with headers, socketpool.pc and a CMake package; DESTDIR is honoured
#     make uninstall PREFIX=…   take them away again

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
CARGO ?= cargo
INSTALL ?= install
TARGET ?= target/c

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SONAME := libsocketpool.so.0
# What the static library needs of the system.
LIBS_PRIVATE := -lpthread -ldl -lm

all: build

build:
	$(CARGO) rustc --locked --release --lib --features capi --crate-type staticlib,cdylib \
		--target-dir $(TARGET) -- -C link-arg=-Wl,-soname,$(SONAME)

install: build
	$(INSTALL) -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(LIBDIR)/cmake/socketpool $(DESTDIR)$(INCLUDEDIR)/socketpool
	$(INSTALL) -m 644 $(TARGET)/release/libsocketpool.a $(DESTDIR)$(LIBDIR)/libsocketpool.a
	$(INSTALL) -m 755 $(TARGET)/release/libsocketpool.so $(DESTDIR)$(LIBDIR)/libsocketpool.so.$(VERSION)
	ln -sf libsocketpool.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libsocketpool.so
	$(INSTALL) -m 644 include/socketpool/socketpool.h $(DESTDIR)$(INCLUDEDIR)/socketpool/socketpool.h
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|; s|@VERSION@|$(VERSION)|; s|@LIBS_PRIVATE@|$(LIBS_PRIVATE)|' \
		include/socketpool.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/socketpool.pc
	sed -e 's|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|; s|@SONAME@|$(SONAME)|' \
		include/socketpool-config.cmake.in > $(DESTDIR)$(LIBDIR)/cmake/socketpool/socketpool-config.cmake

uninstall:
	rm -f $(DESTDIR)$(LIBDIR)/libsocketpool.a $(DESTDIR)$(LIBDIR)/libsocketpool.so $(DESTDIR)$(LIBDIR)/$(SONAME)
	rm -f $(DESTDIR)$(LIBDIR)/libsocketpool.so.$(VERSION) $(DESTDIR)$(LIBDIR)/pkgconfig/socketpool.pc
	rm -f $(DESTDIR)$(INCLUDEDIR)/socketpool/socketpool.h $(DESTDIR)$(LIBDIR)/cmake/socketpool/socketpool-config.cmake
	-rmdir $(DESTDIR)$(INCLUDEDIR)/socketpool $(DESTDIR)$(LIBDIR)/cmake/socketpool 2>/dev/null

.PHONY: all build install uninstall

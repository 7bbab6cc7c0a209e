//! The C header is what cbindgen makes of `src/capi` now. `SOCKETPOOL_BLESS=1` writes it.

use std::fs;
use std::path::Path;

#[test]
fn the_header_is_made_of_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_root_or_default(root);
    let builder = cbindgen::Builder::new().with_config(config).with_src(root.join("src/capi/mod.rs"));
    let mut made = Vec::new();
    builder.generate().expect("cbindgen reads the source").write(&mut made);
    let made = String::from_utf8(made).unwrap();

    let header = root.join("include/socketpool/socketpool.h");
    if std::env::var_os("SOCKETPOOL_BLESS").is_some() {
        fs::write(&header, &made).unwrap();
    }
    assert_eq!(made, fs::read_to_string(header).unwrap(), "SOCKETPOOL_BLESS=1 writes it anew");
}

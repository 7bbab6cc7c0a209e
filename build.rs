//! Publishes the include directory to crates that link C code against this one. Writes nothing into the tree.

use std::env;
use std::path::Path;

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo::metadata=include={}", Path::new(&root).join("include").display());
    println!("cargo::rerun-if-changed=build.rs");
}

//! See [`counts::ratios`].

fn main() {
    counts::ratios::run();
}

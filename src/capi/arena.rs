#[derive(Debug)]
pub struct sp_arena;
pub type Arena_T = *mut sp_arena;
pub(super) fn adopt(_a: Arena_T, _h: u64) -> Result<(), super::status::Failure> {
    Ok(())
}

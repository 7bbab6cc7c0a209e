pub(super) fn forget_everywhere(_fd: i32) {}
pub(super) fn mute_reading(_fd: i32, _until: Option<u64>) {}
pub(super) fn unmute_reading(_fd: i32) {}
pub(super) fn want_write(_fd: i32) {}

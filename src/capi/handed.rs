//! What a C program hands over by address and length, as Rust has it.

use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;
use std::slice;

use super::status::Failure;

/// Bytes to read.
///
/// # Safety
/// `length` bytes at `data` may be read as long as the result is used, unless `data` is NULL.
pub(super) unsafe fn bytes<'a>(
    argument: &str,
    data: *const c_void,
    length: usize,
) -> Result<&'a [u8], Failure> {
    check(argument, data, length)?;
    Ok(match length {
        0 => &[],
        // SAFETY: not NULL and not too long, and the caller promises the rest.
        _ => unsafe { slice::from_raw_parts(data.cast(), length) },
    })
}

/// Room to write into.
///
/// # Safety
/// `length` bytes at `data` may be written by nobody else as long as the result is used, unless `data` is NULL.
pub(super) unsafe fn room<'a>(
    argument: &str,
    data: *mut c_void,
    length: usize,
) -> Result<&'a mut [MaybeUninit<u8>], Failure> {
    check(argument, data, length)?;
    Ok(match length {
        0 => &mut [],
        // SAFETY: not NULL and not too long, and the caller promises the rest.
        _ => unsafe { slice::from_raw_parts_mut(data.cast(), length) },
    })
}

/// Text; `None` for NULL.
///
/// # Safety
/// It is NULL or ends with NUL, and may be read as long as the result is used.
pub(super) unsafe fn text<'a>(argument: &str, text: *const c_char) -> Result<Option<&'a str>, Failure> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, and the caller promises the rest.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|_| Failure::argument(argument, "is not UTF-8"))
}

fn check(argument: &str, data: *const c_void, length: usize) -> Result<(), Failure> {
    if data.is_null() && length > 0 {
        return Err(Failure::argument(argument, "is NULL"));
    }
    if length > isize::MAX.cast_unsigned() {
        return Err(Failure::argument("length", format_args!("is {length}, must be at most {}", isize::MAX)));
    }
    Ok(())
}

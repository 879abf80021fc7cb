//! Large pages beneath large buffers: a kernel that clears 2 MiB at a time is asked once where it would be asked 512 times. Advice
//! only, and only on Linux; `perf` shows it in what `verify --rehash if-changed` takes for a signature of a hundred thousand files.
#![cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "advice about memory, by its address")
)]

use std::mem::MaybeUninit;

/// A buffer of `size` zeros.
pub(crate) fn zeros(size: usize) -> Vec<u8> {
    let mut buffer = vec![0_u8; size];
    advise(buffer.as_mut_ptr().cast(), size);
    buffer
}

/// Before the room of `buffer` is filled.
pub(crate) fn in_room_of(buffer: &mut Vec<u8>) {
    let room: &mut [MaybeUninit<u8>] = buffer.spare_capacity_mut();
    advise(room.as_mut_ptr().cast(), room.len());
}

/// For the whole large pages in a range of memory of ours.
#[cfg(target_os = "linux")]
fn advise(start: *mut std::ffi::c_void, length: usize) {
    use rustix::mm::{Advice, madvise};
    const LARGE: usize = 2 * 1024 * 1024;
    let before = start.cast::<u8>().align_offset(LARGE);
    let whole = length.saturating_sub(before) / LARGE * LARGE;
    if whole > 0 {
        // SAFETY: this changes neither what is in memory nor who may use it, and an address that is not ours is an error.
        _ = unsafe {
            madvise(
                start.wrapping_byte_add(before),
                whole,
                Advice::LinuxHugepage,
            )
        };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise(_: *mut std::ffi::c_void, _: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_as_good_as_before() {
        for size in [0, 1, 4096, 1 << 21, (1 << 21) + 1, 9_000_001] {
            let mut buffer = Vec::with_capacity(size);
            in_room_of(&mut buffer);
            buffer.resize(size, 7);
            assert!(buffer.iter().all(|byte| *byte == 7));
            assert!(zeros(size).iter().all(|byte| *byte == 0));
        }
    }
}

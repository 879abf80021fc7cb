//! Whether anybody can write to a file that is open, by a descriptor or a mapping: the kernel gives no lease for reading then
//! (fcntl(2), "Leases").
#![cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "a call that no library has: F_SETLEASE")
)]

use std::fs::File;

/// Who may be writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Nobody has the file open for writing.
    None,
    Some,
    /// The kernel tells the owner of the file alone, and those with `CAP_LEASE`.
    Untold,
}

/// Who may be writing to `file`, which is open for reading?
#[cfg(target_os = "linux")]
pub fn writers(file: &File) -> Writers {
    use std::os::fd::AsRawFd;
    /// asm-generic/fcntl.h
    const F_SETSIG: libc::c_int = 10;
    let fd = file.as_raw_fd();
    // Of who opens the file meanwhile the kernel tells us by a signal, which is to be one that does nothing: SIGIO would end us.
    // SAFETY: this takes a number, and touches no memory.
    if unsafe { libc::fcntl(fd, F_SETSIG, libc::SIGURG) } == -1 {
        return Writers::Untold;
    }
    // SAFETY: as above.
    if unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) } == -1 {
        return match std::io::Error::last_os_error().raw_os_error() {
            Some(libc::EAGAIN) => Writers::Some,
            _ => Writers::Untold,
        };
    }
    // SAFETY: as above.
    _ = unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) };
    Writers::None
}

#[cfg(not(target_os = "linux"))]
pub fn writers(_: &File) -> Writers {
    Writers::Untold
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn who_can_write_is_known() {
        let scratch = tempfile::NamedTempFile::new().unwrap();
        let file = File::open(scratch.path()).unwrap();
        // The one that made it.
        assert_eq!(writers(&file), Writers::Some);
        let path = scratch.into_temp_path();
        assert_eq!(writers(&file), Writers::None);
        let reader = File::open(&path).unwrap();
        assert_eq!(writers(&file), Writers::None);
        drop(reader);
        let writer = File::options().append(true).open(&path).unwrap();
        assert_eq!(writers(&file), Writers::Some);
        drop(writer);
        assert_eq!(writers(&file), Writers::None);
        // No lease is left.
        File::options().append(true).open(&path).unwrap();
    }
}

//! fs-verity (Linux, Documentation/filesystems/fsverity.rst): a file whose content the kernel lets nobody change any more, and
//! whose digest it keeps. What is read of such a file is what the digest is of, or reading fails.
#![expect(
    unsafe_code,
    reason = "two calls that no library has: FS_IOC_ENABLE_VERITY and FS_IOC_MEASURE_VERITY"
)]

use std::fs::File;
use std::io;

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

/// Why a file has no digest of its kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Unmeasured {
    #[error("fs-verity is not on for it")]
    Off,
    /// Or it is one whose word counts for nothing: a program behind it may say anything.
    #[error("its file system has no fs-verity")]
    Unsupported,
    #[error("it is not of SHA-256")]
    Kind,
    #[error("the kernel does not say")]
    Failed,
}

/// `struct fsverity_enable_arg`.
#[repr(C)]
struct Enable {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt: u64,
    signature_size: u32,
    reserved: u32,
    signature: u64,
    reserved_too: [u64; 11],
}

/// `struct fsverity_digest`, with room for the longest digest, that of SHA-512.
#[repr(C)]
struct Measured {
    algorithm: u16,
    size: u16,
    digest: [u8; 64],
}

const ENABLE: Opcode = opcode::write::<Enable>(b'f', 133);
/// Its number is made from the size of the two fields before the digest.
const MEASURE: Opcode = opcode::read_write::<[u16; 2]>(b'f', 134);
/// `FS_VERITY_HASH_ALG_SHA256`.
const SHA256: u16 = 1;

/// Puts the file under fs-verity, with SHA-256, blocks of 4,096 bytes and no salt. It must not be open for writing anywhere. There
/// is no way back.
pub fn enable(file: &File) -> io::Result<()> {
    let enable = Enable {
        version: 1,
        hash_algorithm: SHA256.into(),
        block_size: 4096,
        salt_size: 0,
        salt: 0,
        signature_size: 0,
        reserved: 0,
        signature: 0,
        reserved_too: [0; 11],
    };
    // SAFETY: the number is that of FS_IOC_ENABLE_VERITY, which reads a `fsverity_enable_arg`, and writes nothing; the
    // addresses in it are of nothing, with size nothing.
    let result = unsafe { ioctl(file, Setter::<ENABLE, Enable>::new(enable)) };
    match result {
        // Somebody else was faster; what the digest is will be asked.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The digest that the kernel keeps of the file.
pub fn measure(file: &File) -> Result<[u8; 32], Unmeasured> {
    if !is_kept_by_kernel(file) {
        return Err(Unmeasured::Unsupported);
    }
    let mut measured = Measured {
        algorithm: 0,
        size: 64,
        digest: [0; 64],
    };
    // SAFETY: the number is that of FS_IOC_MEASURE_VERITY, which reads how much room there is from `size`, and writes a
    // `fsverity_digest` with at most so many bytes of a digest.
    let result = unsafe { ioctl(file, Updater::<MEASURE, Measured>::new(&mut measured)) };
    match result {
        Ok(()) => {}
        Err(Errno::NODATA) => return Err(Unmeasured::Off),
        Err(Errno::OPNOTSUPP | Errno::NOTTY) => return Err(Unmeasured::Unsupported),
        Err(_) => return Err(Unmeasured::Failed),
    }
    match measured.digest.first_chunk::<32>() {
        Some(digest) if measured.algorithm == SHA256 && measured.size == 32 => Ok(*digest),
        _ => Err(Unmeasured::Kind),
    }
}

/// Is the file on a file system of the kernel itself that has fs-verity? One that asks another program (FUSE) passes the
/// question on to it.
fn is_kept_by_kernel(file: &File) -> bool {
    // linux/magic.h: ext4, F2FS, Btrfs.
    const KNOWN: [u64; 3] = [0xef53, 0xf2f5_2010, 0x9123_683e];
    #[expect(clippy::cast_sign_loss, reason = "a pattern of bits")]
    rustix::fs::fstatfs(file).is_ok_and(|about| KNOWN.contains(&(about.f_type as u64)))
}

//! The digest that a kernel keeps of a file under fs-verity (Linux, Documentation/filesystems/fsverity.rst, "File digest
//! computation"), with SHA-256, blocks of 4,096 bytes and no salt, as `fsverity digest` prints it. Bytes in, digest out; memory
//! is a block for each level of the tree.

use sha2::{Digest, Sha256};

/// Bytes of a block of the file, and of the tree above it.
const BLOCK: usize = 4096;

/// The tree as far as it is known.
#[derive(Default)]
pub struct FsVerityHasher {
    size: u64,
    /// The block of the file that is not whole yet.
    block: Sha256,
    filled: usize,
    /// Of each level the block that is not whole yet: digests of the blocks beneath.
    levels: Vec<Vec<u8>>,
}

impl FsVerityHasher {
    /// Continues with `bytes`.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.size = self.size.wrapping_add(bytes.len() as u64);
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.filled));
            self.block.update(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == BLOCK {
                self.end_block();
            }
        }
    }

    /// The digest of all of it.
    pub fn finish(mut self) -> [u8; 32] {
        if self.filled > 0 {
            let zeros = [0; BLOCK];
            self.block
                .update(zeros.get(self.filled..).unwrap_or_default());
            self.end_block();
        }
        let root = self.root();
        // struct fsverity_descriptor: version, algorithm (SHA-256), log2 of the size of a block, of salt and signature nothing.
        let mut descriptor = [0; 256];
        let head = [1, 1, 12, 0, 0, 0, 0, 0];
        let parts = [head.as_slice(), &self.size.to_le_bytes(), &root].concat();
        for (to, from) in descriptor.iter_mut().zip(parts) {
            *to = from;
        }
        Sha256::digest(descriptor).into()
    }

    fn end_block(&mut self) {
        let digest = self.block.finalize_reset();
        self.filled = 0;
        self.raise(0, &digest);
    }

    /// Puts the digest of a block beneath into `level`, and that of a block that is whole by it into the next.
    fn raise(&mut self, mut level: usize, digest: &[u8]) {
        let mut digest: [u8; 32] = digest.try_into().unwrap_or_default();
        loop {
            if self.levels.len() == level {
                self.levels.push(Vec::with_capacity(BLOCK));
            }
            let Some(block) = self.levels.get_mut(level) else {
                return;
            };
            block.extend_from_slice(&digest);
            if block.len() < BLOCK {
                return;
            }
            digest = Sha256::digest(&*block).into();
            block.clear();
            level += 1;
        }
    }

    /// The digest of the one block at the top; of a file of one block that of this block, of an empty file zeros.
    fn root(&mut self) -> [u8; 32] {
        let mut level = 0;
        loop {
            let is_top = level + 1 == self.levels.len();
            let Some(block) = self.levels.get_mut(level) else {
                return [0; 32];
            };
            if is_top && block.len() == 32 {
                return block.as_slice().try_into().unwrap_or_default();
            }
            if !block.is_empty() {
                block.resize(BLOCK, 0);
                let digest = Sha256::digest(&*block);
                block.clear();
                self.raise(level + 1, &digest);
            }
            level += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `fsverity digest` of fsverity-utils 1.5 says so.
    #[test]
    fn as_the_tool_says() {
        for (bytes, expected) in [
            (
                &b""[..],
                "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95",
            ),
            (
                b"abc",
                "700b6bd8510f0b4f9bac8b9cf0459151a1c4a99f467892bb4bd289a67df8e19c",
            ),
        ] {
            let mut hasher = FsVerityHasher::default();
            hasher.update(bytes);
            assert_eq!(data_encoding::HEXLOWER.encode(&hasher.finish()), expected);
        }
    }

    #[test]
    fn however_the_bytes_come() {
        let bytes: Vec<u8> = (0..BLOCK * 130 + 5)
            .map(|n| u8::try_from(n % 251).unwrap())
            .collect();
        let whole = |piece: usize| {
            let mut hasher = FsVerityHasher::default();
            for piece in bytes.chunks(piece) {
                hasher.update(piece);
            }
            hasher.finish()
        };
        for piece in [1, 63, 4095, 4096, 4097, 65536] {
            assert_eq!(whole(piece), whole(bytes.len()));
        }
    }
}

//! Packs of git, under a good hash: every object that comes out has the id by which it is found.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::git::{ObjectId, pack};

fuzz_target!(|data: &[u8]| {
    let hash = <sha1::Sha1 as sha1::Digest>::digest(data);
    let packed = [data, hash.as_slice()].concat();
    let Ok(objects) = pack::read(&packed) else {
        return;
    };
    for (id, (kind, content)) in &objects {
        assert_eq!(ObjectId::of(*kind, content).as_ref(), Ok(id));
    }
});

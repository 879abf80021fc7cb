# `weighbridge seal`, `verify --fast` and `gate --fast` where there is fs-verity.
insmod /loop.ko
truncate -s 96M /tmp/disk.img
mkfs.ext4 -q -b 4096 -O verity /tmp/disk.img
losetup /dev/loop0 /tmp/disk.img
mount -t ext4 /dev/loop0 /disk || missed=1
mkdir -p /disk/model/sub
cd /disk
# One file of many blocks, one that ends within one, one that is empty.
head -c 3000000 /bin/weighbridge > model/weights.bin
echo pattern-to-be-found-on-the-disk >> model/weights.bin
echo '{"a": 1}' > model/sub/config.json
: > model/empty

weighbridge init --quiet --no-passphrase
check 'sign --fs-verity --record' 0 -- weighbridge sign --quiet --fs-verity --record model
check 'what fsVerity says is what fsverity digest says' 0 "sha256:$(fsverity digest --compact model/weights.bin)" -- \
    sh -c 'sed "s/.*\"payload\":\"\([^\"]*\)\".*/\1/" model/model.sig | base64 -d'
check 'before sealing, files are read' 0 'fs-verity is not on for them' -- weighbridge verify --fast model
check 'and said to be' 0 '"how": "full"' -- weighbridge verify --fast --json model
check 'what is not as signed is not sealed' 1 'nothing was sealed' -- sh -c 'touch model/x; weighbridge seal model; e=$?; rm model/x; exit $e'
check 'nothing was' 1 -- fsverity measure model/weights.bin
check 'no seal while somebody may write' 2 'open for writing' -- sh -c 'exec 3>>model/sub/config.json; weighbridge seal model'
check 'a file system without' 2 'has no fs-verity' -- sh -c 'cp -r model /tmp/model; weighbridge seal /tmp/model'
check 'that is read' 0 'has no fs-verity' -- weighbridge verify --fast /tmp/model

check 'seal' 0 'sealed 3 files' -- weighbridge seal model
check 'seal again' 0 'sealed 3 files, 3 of them before' -- weighbridge seal model
check 'the kernel agrees with fsverity' 0 "$(fsverity digest --compact model/weights.bin)" -- fsverity measure model/weights.bin
check 'nobody writes any more' 1 -- sh -c 'echo x >> model/weights.bin'
check 'verify --fast' 0 'fs-verity' -- weighbridge verify --fast model
check 'no file is read' 0 '3 of 3 files were not read' -- weighbridge verify --fast model
check 'and the report says so' 0 '"how": "fs-verity"' -- weighbridge verify --fast --json model
check 'by whom it was signed still matters' 1 -- sh -c 'weighbridge key new --quiet --no-passphrase /tmp/other; weighbridge verify --fast --key /tmp/other.pub model'
check 'gate --fast' 0 '3 of 3 files were not read' -- weighbridge gate --fast model
check 'without --fast all is read' 0 '"how": "full"' -- weighbridge gate --json model
check 'moved, by the signature' 0 '3 of 3 files were not read' -- sh -c 'mv model moved; weighbridge verify --fast moved; e=$?; mv moved model; exit $e'

# A host that has not sealed it: verify has the signature for it, the gate reads.
check 'another host, verify' 0 '3 of 3 files were not read' -- env HOME=/elsewhere weighbridge verify --fast model
check 'another host, gate' 0 '"how": "full"' -- env HOME=/elsewhere weighbridge gate --fast --json model
check 'another host is told why' 0 'nobody who counts says' -- env HOME=/elsewhere weighbridge gate --fast model
check 'a policy that forbids it' 0 'fast is not done' -- sh -c \
    'sed "s/^\[gate\]/[gate]\nrehash = \"always\"/" weighbridge.toml > strict.toml; weighbridge gate --config strict.toml --fast model'

# Other content in its place, sealed and not.
check 'a replaced file is found out' 1 'was changed' -- sh -c \
    'mv model/sub/config.json /disk/kept; echo "{\"b\": 2}" > model/sub/config.json; weighbridge verify --fast model'
check 'a replaced file that is under fs-verity, too' 1 'was changed' -- sh -c 'fsverity enable model/sub/config.json; weighbridge verify --fast model'
check 'and by the gate' 1 -- weighbridge gate --fast model
check 'a link in its place' 1 -- sh -c 'rm model/sub/config.json; ln -s /disk/kept model/sub/config.json; weighbridge verify --fast model'
check 'the file itself, back' 0 '3 of 3 files were not read' -- sh -c 'rm model/sub/config.json; mv kept model/sub/config.json; weighbridge verify --fast model'
check 'a copy is read' 0 '2 of 3 files were not read' -- sh -c \
    'cp model/empty kept; mv kept model/empty; weighbridge verify --fast model'

# As the gate judges: what nobody signed and recorded is not sealed.
cp -r model/sub unsigned
check 'without a signature nothing is sealed' 1 'nothing was sealed' -- weighbridge seal unsigned
check 'nor by the gate' 1 'nothing was sealed' -- weighbridge seal --gate unsigned
check 'what the gate allows is sealed' 0 'sealed 3 files' -- sh -c 'cp -r model gated; weighbridge seal --gate gated'
check 'and known to the gate' 0 '3 of 3 files were not read' -- weighbridge gate --fast gated

# Whoever is not the owner needs no more than to compare.
check 'sealed before, mounted read-only' 0 'sealed 3 files, 3 of them before' -- \
    sh -c 'mount -o remount,ro /disk; weighbridge seal gated; e=$?; mount -o remount,rw /disk; exit $e'

# The disk beneath is written to: the kernel still vouches for the digest, and lets nobody read what it is not of.
cd /
sync
umount /disk || missed=1
offset=$(strings -t d /tmp/disk.img | grep pattern-to-be-found | head -n 1 | awk '{print $1}')
printf XXXX | dd of=/tmp/disk.img bs=1 seek="$offset" conv=notrunc 2>/dev/null
losetup -d /dev/loop0
losetup /dev/loop0 /tmp/disk.img
mount -t ext4 /dev/loop0 /disk || missed=1
cd /disk
check 'the changed block cannot be read' 1 -- sh -c 'cat model/weights.bin > /dev/null'
check 'verify says that' 2 'cannot be read' -- weighbridge verify model
check 'verify --fast does not read it' 0 -- weighbridge verify --fast model

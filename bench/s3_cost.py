#!/usr/bin/env python3
"""What a ledger of N entries costs in a bucket: objects, requests, bytes and money.

Usage: bench/s3_cost.py [ENTRIES] [BYTES_PER_ENTRY]

Follows the layout of src/ledger/mod.rs and the order of writes of src/ledger/publish.rs; nothing is
measured here. Prices are list prices of S3 Standard, us-east-1, in US dollars (November 2026 is not
looked up: change the three constants below).
"""
import sys

PUT, GET, STORAGE = 0.005 / 1000, 0.0004 / 1000, 0.023  # per request, per request, per GB and month
WIDTH, HASH = 256, 32
SLOT_HEAD, CHECKPOINT, STATE = 300, 3600, 400


def tiles(entries):
    """Full and partial tiles of each level at this size."""
    full = partial = 0
    total = entries
    while total:
        full += total // WIDTH
        partial += 1 if total % WIDTH else 0
        total //= WIDTH
    return full, partial


def levels(entries):
    count = 0
    while entries:
        count += 1
        entries //= WIDTH
    return count


def line(entries, size, batch):
    batches = -(-entries // batch)
    full, partial = tiles(entries)
    bundles = -(-entries // WIDTH)
    # A publish writes the partial tiles of the levels that its size leaves incomplete, and a bundle.
    # A batch below 256 leaves the lowest level incomplete nearly always, higher ones too.
    partials = batches * (levels(entries) * (WIDTH - 1) / WIDTH + (WIDTH - 1) / WIDTH)
    # Slot, tiles and bundles as they complete, partial ones, checkpoint, state.
    puts = batches + full + bundles + partials + 2 * batches
    # Per batch: the slot that is not there yet, the checkpoint before and after.
    gets = 3 * batches
    kept = entries * (size + 2) + batches * SLOT_HEAD + entries * (size + 2) + (full + partial) * WIDTH * HASH
    mean = WIDTH / 2
    left = batches * ((size + 2) * mean + levels(entries) * mean * HASH)
    objects = batches + full + partial + bundles + 2
    return batches, objects, puts, gets, kept, left, puts * PUT + gets * GET


def main():
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 10**9
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 2048
    print(f"{entries:,} entries of {size:,} bytes")
    print("| entries a batch | objects | PUT | GET | requests, $ | GB kept | $ a month | GB of partial tiles until pruned |")
    print("|---|---|---|---|---|---|---|---|")
    for batch in (1, 16, 256, 1024):
        _, objects, puts, gets, kept, left, money = line(entries, size, batch)
        print(
            f"| {batch:,} | {objects:,.0f} | {puts:,.0f} | {gets:,.0f} | {money:,.0f} "
            f"| {kept / 1e9:,.0f} | {kept / 1e9 * STORAGE:,.0f} | {left / 1e9:,.0f} |"
        )
    print(f"\nto verify everything once: {2 * -(-entries // WIDTH):,} GET, ${2 * -(-entries // WIDTH) * GET:,.2f}, and the transfer")
    print(f"one proof: {levels(entries)} tiles and a bundle, {1 + levels(entries)} GET")


if __name__ == "__main__":
    main()

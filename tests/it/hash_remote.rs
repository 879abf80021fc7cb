//! `hash s3://…`: objects are read where they are, in parts and several at once, and come to what the same files come to here.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::acquire_s3::{Place, s3s, served};
use crate::servers::{self, BUCKET};
use crate::support::Run;

/// What is there, beside it here: one object of several parts, one that ends with a part, small ones, an empty one.
fn fill(place: &Place, prefix: &str) {
    place
        .workspace
        .shell(
            "mkdir -p tree/sub && cd tree && seq 1 4000000 | head -c 29000001 > large.bin && seq 1 3000000 | head -c 16777216 > two.bin && \
             seq 1 2000000 | head -c 8388609 > one.bin && : > empty && echo '{}' > 'sub/a b+c.json' && echo x > model.sig",
        )
        .exits(0);
    place.client(BUCKET, &[&["tree", prefix, "tree"]]);
}

fn of_any_store(place: &Place, prefix: &str) {
    fill(place, prefix);
    let source = format!("s3://{BUCKET}/{prefix}");
    let here = place.run(&["hash", "tree"]).exits(0).stdout;
    for connections in ["1", "3", "8", "40"] {
        let there = place.run(&["hash", "--connections", connections, &source]);
        assert_eq!(there.exits(0).stdout, here);
    }
    let json = |what: &str| {
        let mut document = place
            .run(&["hash", "--json", "-a", "blake3,sha256,md5", what])
            .exits(0)
            .json();
        document["path"] = "".into();
        for file in document["files"].as_array_mut().unwrap() {
            // What kind of file it is, is not looked at there.
            file.as_object_mut().unwrap().remove("format");
        }
        document
    };
    assert_eq!(json(&source), json("tree"));
    // One object is one file.
    let one = format!("{source}large.bin");
    let run = place.run(&["hash", &one]).exits(0);
    let digest = place
        .workspace
        .shell("sha256sum < tree/large.bin | cut -c1-64");
    assert_eq!(run.stdout, format!("{}  {one}\n", digest.stdout.trim()));
    // Against a list.
    place.workspace.write("list", &here);
    place.run(&["hash", "--check", "list", &source]).exits(0);
    place.workspace.write("put", "changed");
    place.client(BUCKET, &[&["put", &format!("{prefix}empty"), "put"]]);
    place
        .run(&["hash", "--check", "list", &source])
        .exits(1)
        .says("1 differences");
    // Options that mean nothing there are no silence.
    for option in ["--covered", "--resume"] {
        place.run(&["hash", option, &source]).exits(2).says(option);
    }
    place
        .run(&["hash", &format!("s3://{BUCKET}/none/")])
        .exits(2)
        .says("none beneath it");
}

#[test]
fn on_a_file_system() {
    let Some(place) = s3s() else { return };
    of_any_store(&place, "team/model/");
    // A SHA-256 that the store keeps is compared.
    place.client(BUCKET, &[&["sum", "sums/large.bin", "tree/large.bin"]]);
    place
        .run(&["hash", &format!("s3://{BUCKET}/sums/large.bin")])
        .exits(0);
}

#[test]
fn on_ceph() {
    let Some(server) = servers::ceph() else {
        return;
    };
    of_any_store(&served(server.port), "hashed/");
}

#[test]
fn on_ministack() {
    let Some(server) = servers::ministack() else {
        return;
    };
    let place = served(server.port);
    place.client(BUCKET, &[&["create"]]);
    of_any_store(&place, "hashed/");
}

/// Passes everything on to a server, and after so many bytes of each of the first answers nothing any more.
struct Cutting {
    port: u16,
    /// How many connections there were, and are.
    all: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

fn cutting(to: u16, cuts: usize, after: usize) -> Cutting {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (all, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, highest) = (Arc::clone(&all), Arc::clone(&most));
    let now = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let is_cut = count.fetch_add(1, Ordering::SeqCst) < cuts;
            let (now, highest) = (Arc::clone(&now), Arc::clone(&highest));
            std::thread::spawn(move || {
                highest.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let mut server = TcpStream::connect(("127.0.0.1", to)).unwrap();
                let (mut from, mut asked) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut from, &mut asked));
                let (mut buffer, mut passed) = ([0; 8192], 0);
                while let Ok(count @ 1..) = server.read(&mut buffer) {
                    passed += count;
                    if is_cut && passed > after || client.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
                _ = client.shutdown(Shutdown::Both);
                _ = server.shutdown(Shutdown::Both);
                now.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    Cutting { port, all, most }
}

/// A connection that breaks in the middle of a part costs the rest of that part.
#[test]
fn connections_that_break() {
    let Some(place) = s3s() else { return };
    fill(&place, "cut/");
    let here = place.run(&["hash", "tree"]).exits(0).stdout;
    let proxy = cutting(place.port(), 3, 3_000_000);
    let hash = |connections: &str| -> Run {
        let mut command = place.workspace.command([
            "hash",
            "--connections",
            connections,
            &format!("s3://{BUCKET}/cut/"),
        ]);
        command
            .envs(servers::s3(proxy.port))
            .output()
            .unwrap()
            .into()
    };
    assert_eq!(hash("4").exits(0).stdout, here);
    assert!(proxy.all.load(Ordering::SeqCst) > 3);
    // Parts of one object come at once.
    assert!(proxy.most.load(Ordering::SeqCst) > 1);
    // Whoever goes on, a little each time, gets there.
    let proxy = cutting(place.port(), usize::MAX, 1_000_000);
    let mut command = place
        .workspace
        .command(["hash", &format!("s3://{BUCKET}/cut/large.bin")]);
    let run = Run::from(command.envs(servers::s3(proxy.port)).output().unwrap());
    assert!(here.contains(&run.exits(0).stdout[..64]));
    // Whoever breaks every time is given up.
    let proxy = cutting(place.port(), usize::MAX, 2_000);
    let mut command = place
        .workspace
        .command(["hash", &format!("s3://{BUCKET}/cut/large.bin")]);
    let run = Run::from(command.envs(servers::s3(proxy.port)).output().unwrap());
    run.exits(2);
}

/// An object that is replaced while it is read is of two versions, and has no digest.
#[test]
fn an_object_that_is_replaced_meanwhile() {
    let Some(place) = s3s() else { return };
    fill(&place, "new/");
    // What is listed is asked through a proxy that lets nothing but heads pass until the object is another.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = place.port();
    let (told, is_asked) = std::sync::mpsc::channel::<()>();
    let gate = Arc::new(std::sync::Barrier::new(2));
    let passes = Arc::clone(&gate);
    std::thread::spawn(move || {
        let mut is_first = true;
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let (mut answers, mut back) =
                (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
            // One connection, used again: with one thread there is no other.
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = client.read(&mut buffer) {
                let asked = &buffer[..count];
                let is_part = String::from_utf8_lossy(asked)
                    .to_lowercase()
                    .contains("range: bytes=8388608-");
                if is_part && is_first {
                    is_first = false;
                    told.send(()).unwrap();
                    passes.wait();
                }
                server.write_all(asked).unwrap();
            }
        }
    });
    let mut command = place.workspace.command([
        "hash",
        "--connections",
        "1",
        &format!("s3://{BUCKET}/new/large.bin"),
    ]);
    command.envs(servers::s3(port));
    let run = std::thread::spawn(move || command.output().unwrap());
    is_asked.recv().unwrap();
    place
        .workspace
        .shell("seq 2 4000001 | head -c 29000001 > other.bin")
        .exits(0);
    place.client(BUCKET, &[&["put", "new/large.bin", "other.bin"]]);
    gate.wait();
    let run = Run::from(run.join().unwrap());
    run.exits(2).says("large.bin");
}

/// What is not there is not a source without files.
#[test]
fn a_path_that_is_not_there() {
    let workspace = crate::support::Workspace::new();
    for path in ["./v1:final", "a/b:c", "/nowhere/x:y"] {
        workspace.run(["hash", path]).exits(2);
        workspace.write("list", "");
        workspace.run(["hash", "--check", "list", path]).exits(2);
    }
    workspace.write("x", "x");
    workspace
        .run(["hash", "--connections", "2", "x"])
        .exits(2)
        .says("--jobs");
}

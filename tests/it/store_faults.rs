//! What goes wrong between a writer and its store: answers and requests that are lost, servers that
//! are overloaded or late. A real server stands behind the proxy that does the harm.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use weighbridge::ledger::{Created, Store, StoreError};

use crate::ledger_stores::{at, fresh};
use crate::servers::{self, Fault, FaultProxy, Options};

use Fault::{AnswerLost, Delay, DoneButStatus, RequestLost, Status};

/// Every operation comes out as if nothing had happened.
fn bears(proxy: &FaultProxy, store: &dyn Store) {
    let trouble: &[&[Fault]] = &[
        &[AnswerLost],
        &[RequestLost],
        &[Status(500)],
        &[Status(503)],
        &[DoneButStatus(503)],
        &[DoneButStatus(500), AnswerLost, RequestLost],
        &[RequestLost, Status(429), DoneButStatus(500)],
        &[Delay(Duration::from_millis(700))],
    ];
    for (number, faults) in trouble.iter().enumerate() {
        let key = format!("_commit/{number:020}");
        // One's own bytes are recognised, though the server says that they are somebody's.
        proxy.next(faults);
        assert_eq!(
            store.create(&key, b"mine").unwrap(),
            Created::New,
            "{faults:?}"
        );
        proxy.all_happened();
        // Those of others are not one's own.
        proxy.next(faults);
        assert_eq!(
            store.create(&key, b"other").unwrap(),
            Created::Exists,
            "{faults:?}"
        );
        proxy.all_happened();

        proxy.next(faults);
        assert_eq!(store.read(&key, 100).unwrap().unwrap(), b"mine");
        proxy.all_happened();
        proxy.next(faults);
        assert!(store.exists(&key).unwrap());
        proxy.all_happened();
        proxy.next(faults);
        store.replace("checkpoint", key.as_bytes()).unwrap();
        proxy.all_happened();
        assert_eq!(
            store.read("checkpoint", 100).unwrap().unwrap(),
            key.as_bytes()
        );
        proxy.next(faults);
        assert_eq!(store.list("_commit/").unwrap().len(), number + 1);
        proxy.all_happened();
    }
    proxy.next(&[AnswerLost, Status(503)]);
    store.remove("checkpoint").unwrap();
    proxy.all_happened();
    assert!(!store.exists("checkpoint").unwrap());
}

#[test]
fn writers_on_ceph_bear_faults() {
    if let Some(server) = servers::ceph() {
        let proxy = FaultProxy::new(server.port);
        bears(&proxy, &*fresh("s3", &servers::s3(proxy.port)));
    }
}

#[test]
fn writers_on_ministack_bear_faults() {
    if let Some(server) = servers::ministack() {
        let proxy = FaultProxy::new(server.port);
        bears(&proxy, &*fresh("s3", &servers::s3(proxy.port)));
    }
}

#[test]
fn writers_on_azurite_bear_faults() {
    if let Some(server) = servers::azurite() {
        let proxy = FaultProxy::new(server.port);
        bears(&proxy, &*fresh("az", &servers::azure(proxy.port)));
    }
}

/// Patience ends, and what a refusal says is not repeated.
#[test]
fn a_server_that_is_down_is_an_error_and_a_refusal_is_one_at_once() {
    let Some(server) = servers::ministack() else {
        return;
    };
    let proxy = FaultProxy::new(server.port);
    let store = fresh("s3", &servers::s3(proxy.port));
    proxy.next(&[Status(503); 8]);
    let error = store.create("_commit/0", b"mine").unwrap_err().to_string();
    assert!(error.contains("503"), "{error}");
    proxy.all_happened();
    let start = Instant::now();
    proxy.next(&[Status(403)]);
    let error = store.create("_commit/0", b"mine").unwrap_err();
    assert!(matches!(error, StoreError::Remote { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2));
    proxy.all_happened();
    // None of it was done.
    assert_eq!(store.create("_commit/0", b"mine").unwrap(), Created::New);
}

/// A web server that gives one answer after the other, and then none.
fn scripted(answers: Vec<String>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut client, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            _ = client.read(&mut request);
            // A client that has read enough hangs up.
            _ = client.write_all(answer.as_bytes());
        }
    });
    port
}

fn http(port: u16) -> Box<dyn Store> {
    at(&format!("http://127.0.0.1:{port}/log"), &Options::new())
}

fn head(status: u16, more: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{more}\r\n")
}

#[test]
fn a_reader_over_http_bears_faults_and_believes_little() {
    let good = head(200, "content-length: 2\r\n") + "ok";
    let busy = head(503, "content-length: 0\r\n");
    let cut = head(200, "content-length: 9\r\n") + "cut";
    let store = http(scripted(vec![busy, cut, String::new(), good.clone()]));
    assert_eq!(store.read("checkpoint", 10).unwrap().unwrap(), b"ok");

    // No length is told, and more is sent than is wanted.
    let store = http(scripted(vec![head(200, "") + &"x".repeat(1000)]));
    assert!(matches!(
        store.read("checkpoint", 10),
        Err(StoreError::TooLarge { limit: 10, .. })
    ));
    // A length is told, and nothing is read.
    let store = http(scripted(vec![head(200, "content-length: 99999999999\r\n")]));
    assert!(matches!(
        store.read("checkpoint", 10),
        Err(StoreError::TooLarge {
            size: 99_999_999_999,
            ..
        })
    ));
    for (answer, says) in [
        (
            head(200, "content-encoding: gzip\r\ncontent-length: 2\r\n") + "ok",
            "compresses",
        ),
        (head(403, "content-length: 0\r\n"), "403"),
        (head(206, "content-length: 2\r\n") + "ok", "206"),
    ] {
        let error = http(scripted(vec![answer]))
            .read("checkpoint", 10)
            .unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }

    // Redirects are followed, and not without end.
    let elsewhere = scripted(vec![good]);
    let location = format!("location: http://127.0.0.1:{elsewhere}/x\r\ncontent-length: 0\r\n");
    let store = http(scripted(vec![head(302, &location)]));
    assert_eq!(store.read("checkpoint", 10).unwrap().unwrap(), b"ok");
    let around = head(302, "location: /log/checkpoint\r\ncontent-length: 0\r\n");
    let store = http(scripted(vec![around; 10]));
    assert!(store.read("checkpoint", 10).is_err());
}

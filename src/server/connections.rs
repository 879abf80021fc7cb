//! Connections of a public server: bounded in number, in silence and in life, so that clients that
//! send nothing do not keep others out. Who sends a byte at a time is the protocol's business. Knows none.

use std::future::{Future, IntoFuture};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};

/// A listening socket whose connections are bounded.
#[derive(Debug)]
pub struct Connections {
    listener: TcpListener,
    limits: Limits,
    open: Arc<AtomicUsize>,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    limit: Duration,
    silence: Pin<Box<Sleep>>,
    end: Instant,
    open: Arc<AtomicUsize>,
}

/// How much a server bears.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open at a time.
    pub connections: usize,
    /// Without a byte in either direction, also while an answer is made.
    pub silence: Duration,
}

/// However busy.
const LIFE: Duration = Duration::from_secs(600);

impl Connections {
    /// Of this socket.
    pub fn new(listener: TcpListener, limits: Limits) -> Connections {
        Connections {
            listener,
            limits,
            open: Arc::default(),
        }
    }
}

impl axum::serve::Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else {
                // Out of file descriptors, mostly: they come back as connections end.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            if self.open.load(Ordering::Relaxed) >= self.limits.connections {
                drop(stream);
                continue;
            }
            self.open.fetch_add(1, Ordering::Relaxed);
            _ = stream.set_nodelay(true);
            let now = Instant::now();
            let connection = Connection {
                stream,
                limit: self.limits.silence,
                silence: Box::pin(tokio::time::sleep_until(now + self.limits.silence)),
                end: now + LIFE,
                open: Arc::clone(&self.open),
            };
            return (connection, address);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    /// Something moved, or the time for that is up.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        progress: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            let deadline = (Instant::now() + self.limit).min(self.end);
            self.silence.as_mut().reset(deadline);
            return progress;
        }
        match self.silence.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.watch(context, progress)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, progress)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What a server still answers after it was told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Serves `router` on `listener` until `stop` is ready, and [`GRACE`] longer to those who are being
/// answered: what was answered is durable, so connections that do not end by themselves can be cut.
pub(super) async fn serve(
    listener: TcpListener,
    limits: Limits,
    router: axum::Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stopping, stopped) = std::sync::mpsc::channel::<()>();
    let server = axum::serve(Connections::new(listener, limits), router).with_graceful_shutdown(
        async move {
            stop.await;
            drop(stopping);
        },
    );
    let mut server = Box::pin(server.into_future());
    let cut = async move {
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(GRACE).await;
    };
    let mut cut = Box::pin(cut);
    std::future::poll_fn(move |context| {
        if let Poll::Ready(result) = server.as_mut().poll(context) {
            return Poll::Ready(result);
        }
        cut.as_mut().poll(context).map(Ok)
    })
    .await
}

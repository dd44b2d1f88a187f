//! This pool.

use std::future::Future;
use std::io;
use std::task::{Context, Poll};

use pool_core::{CheckoutError, Dropped, Manager, Order, OwnedPooled, Pool, Pooled};

use super::{Contender, Dialler};

/// A [`Dialler`] as this pool wants it.
#[derive(Clone, Debug)]
pub struct Taught<D>(pub D);

impl<D: Dialler> Manager for Taught<D> {
    type Connection = D::Connection;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<D::Connection> {
        self.0.dial().await
    }

    fn is_dropped(&self, connection: &mut D::Connection) -> bool {
        self.0.is_dropped(connection)
    }

    fn poll_dropped(&self, connection: &mut D::Connection, cx: &mut Context<'_>) -> Poll<Dropped> {
        self.0.poll_dropped(connection, cx)
    }
}

fn pool<D: Dialler>(dialler: &D, size: usize, order: Order) -> Pool<Taught<D>> {
    let pool = Pool::builder(Taught(dialler.clone()))
        .max_size(size)
        .order(order)
        .build();
    pool.expect("in a runtime, with at least one connection")
}

/// With a guard that borrows the pool.
#[derive(Clone, Debug)]
pub struct Borrowed<D: Dialler>(Pool<Taught<D>>);

impl<D: Dialler> Borrowed<D> {
    /// At its defaults but for size and order.
    pub fn new(dialler: &D, size: usize, order: Order) -> Self {
        Self(pool(dialler, size, order))
    }

    /// The pool itself, for what the others do not offer.
    pub fn pool(&self) -> &Pool<Taught<D>> {
        &self.0
    }
}

impl<D: Dialler> Contender for Borrowed<D> {
    type Connection = D::Connection;
    type Guard<'a> = Pooled<'a, Taught<D>>;
    type Error = CheckoutError<io::Error>;

    #[inline]
    fn checkout(&self) -> impl Future<Output = Result<Self::Guard<'_>, Self::Error>> + Send {
        self.0.checkout()
    }
}

/// With a guard that borrows nothing.
#[derive(Clone, Debug)]
pub struct Owned<D: Dialler>(Pool<Taught<D>>);

impl<D: Dialler> Owned<D> {
    /// At its defaults but for its size.
    pub fn new(dialler: &D, size: usize) -> Self {
        Self(pool(dialler, size, Order::Lifo))
    }
}

impl<D: Dialler> Contender for Owned<D> {
    type Connection = D::Connection;
    type Guard<'a> = OwnedPooled<Taught<D>>;
    type Error = CheckoutError<io::Error>;

    #[inline]
    fn checkout(&self) -> impl Future<Output = Result<Self::Guard<'_>, Self::Error>> + Send {
        self.0.checkout_owned()
    }
}

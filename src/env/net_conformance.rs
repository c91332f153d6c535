//! The suite every [`Net`] must pass: what the transport relies on, call by call.
//!
//! Public, because the simulator's network has to pass it, too. Needs an address that can be listened at, with port 0
//! where the network gives ports, and a runtime that runs two futures at once as [`both`] does: in one task.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use super::seam::{Net, NetListener, NetReader, NetStream, NetWriter};
use crate::base::Fault;

/// Runs the whole suite, listening at `address`. The error says which promise does not hold.
pub async fn check_net<N: Net>(net: &N, address: &str) -> Result<(), String> {
    bytes_in_order(net, address).await?;
    back_pressure(net, address).await?;
    ends(net, address).await?;
    given_up_reads(net, address).await?;
    addresses(net, address).await
}

/// Both results, of two futures that run side by side.
async fn both<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> (A, B) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut a, mut b) = (None, None);
    poll_fn(|cx| {
        if a.is_none()
            && let Poll::Ready(value) = one.as_mut().poll(cx)
        {
            a = Some(value);
        }
        if b.is_none()
            && let Poll::Ready(value) = other.as_mut().poll(cx)
        {
            b = Some(value);
        }
        match (a.take(), b.take()) {
            (Some(x), Some(y)) => Poll::Ready((x, y)),
            (x, y) => {
                (a, b) = (x, y);
                Poll::Pending
            }
        }
    })
    .await
}

/// Polls once: what it gave, if it was ready.
async fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn expect(holds: bool, promise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("does not hold: {promise}")) }
}

fn works<T>(answer: Result<T, Fault>, promise: &str) -> Result<T, String> {
    answer.map_err(|fault| format!("does not work: {promise}: {fault}"))
}

type Halves<N> = (<<N as Net>::Stream as NetStream>::Reader, <<N as Net>::Stream as NetStream>::Writer);

/// A connection: the halves of who dialled, then of who accepted.
async fn connection<N: Net>(net: &N, listener: &mut N::Listener) -> Result<(Halves<N>, Halves<N>), String> {
    let address = listener.address();
    let (dialled, accepted) = both(net.dial(&address), listener.accept()).await;
    let (accepted, _) = works(accepted, "accept a connection")?;
    Ok((works(dialled, "dial")?.split(), accepted.split()))
}

async fn read_full(reader: &mut impl NetReader, n: usize) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; n];
    let mut done = 0;
    while done < n {
        match works(reader.read(&mut bytes[done..]).await, "read")? {
            0 => return Err(format!("does not hold: {n} bytes arrive before the end, {done} did")),
            read => done += read,
        }
    }
    Ok(bytes)
}

async fn bytes_in_order<N: Net>(net: &N, address: &str) -> Result<(), String> {
    let mut listener = works(net.listen(address).await, "listen")?;
    let ((mut reader, mut writer), (mut their_reader, mut their_writer)) = connection(net, &mut listener).await?;
    works(writer.write(b"one ").await, "write")?;
    works(writer.write(b"two").await, "write again")?;
    expect(read_full(&mut their_reader, 7).await? == b"one two", "bytes arrive in order")?;
    works(their_writer.write(b"back").await, "write the other way")?;
    expect(read_full(&mut reader, 4).await? == b"back", "both ways are one connection")?;
    works(writer.write(b"").await, "write nothing")?;
    works(writer.write(b"x").await, "write after nothing")?;
    expect(read_full(&mut their_reader, 1).await? == b"x", "writing nothing is no end")
}

async fn back_pressure<N: Net>(net: &N, address: &str) -> Result<(), String> {
    const BYTES: usize = 32 * 1024 * 1024;
    let mut listener = works(net.listen(address).await, "listen")?;
    let ((_reader, mut writer), (mut their_reader, _their_writer)) = connection(net, &mut listener).await?;
    let long: Vec<u8> = (0..BYTES).map(|at| (at / 251) as u8).collect();
    let mut writing = pin!(writer.write(&long));
    expect(poll_once(writing.as_mut()).await.is_none(), "who writes more than is read waits")?;
    let (written, read) = both(writing, read_full(&mut their_reader, BYTES)).await;
    works(written, "write much")?;
    expect(read? == long, "a long writing arrives whole")
}

async fn ends<N: Net>(net: &N, address: &str) -> Result<(), String> {
    let mut listener = works(net.listen(address).await, "listen")?;
    let ((mut reader, mut writer), (mut their_reader, mut their_writer)) = connection(net, &mut listener).await?;
    works(writer.write(b"last").await, "write")?;
    works(writer.finish().await, "finish")?;
    expect(read_full(&mut their_reader, 4).await? == b"last", "what was written before the end arrives")?;
    let mut buf = [0; 8];
    expect(works(their_reader.read(&mut buf).await, "read at the end")? == 0, "the end is told")?;
    works(their_writer.write(b"still").await, "write to who has finished writing")?;
    expect(read_full(&mut reader, 5).await? == b"still", "one way may end before the other")?;
    drop((their_reader, their_writer));
    let ended = matches!(reader.read(&mut buf).await, Ok(0) | Err(_));
    expect(ended, "a dropped connection is told")?;

    let ((_reader, mut writer), theirs) = connection(net, &mut listener).await?;
    drop(theirs);
    let piece = vec![0; 64 * 1024];
    for _ in 0..1_000 {
        if writer.write(&piece).await.is_err() {
            return Ok(());
        }
    }
    Err("does not hold: writing to a dropped connection fails in the end".to_string())
}

async fn given_up_reads<N: Net>(net: &N, address: &str) -> Result<(), String> {
    let mut listener = works(net.listen(address).await, "listen")?;
    let ((_reader, mut writer), (mut their_reader, _their_writer)) = connection(net, &mut listener).await?;
    let mut buf = [0; 8];
    for _ in 0..3 {
        expect(poll_once(their_reader.read(&mut buf)).await.is_none(), "a read waits for bytes")?;
    }
    works(writer.write(b"whole").await, "write")?;
    expect(read_full(&mut their_reader, 5).await? == b"whole", "a read given up has taken nothing")?;
    expect(poll_once(listener.accept()).await.is_none(), "accepting waits for a connection")
}

async fn addresses<N: Net>(net: &N, address: &str) -> Result<(), String> {
    let listener = works(net.listen(address).await, "listen")?;
    let taken = listener.address();
    expect(net.listen(&taken).await.is_err(), "an address is listened at once")?;
    drop(listener);
    expect(net.dial(&taken).await.is_err(), "nobody answers at an address that was closed")?;
    let again = works(net.listen(&taken).await, "listen at an address that was closed")?;
    expect(again.address() == taken, "the address is the one asked for")
}

#[cfg(test)]
mod tests {
    use super::super::{Env, MemoryNet, VirtualEnv, run_ready};
    use super::*;

    #[test]
    fn the_network_in_memory_conforms() {
        VirtualEnv::run(async |env| check_net(env.net(), "a:0").await).expect("it conforms");
    }

    #[test]
    fn faults_of_the_network_in_memory_are_what_they_say() {
        run_ready(async {
            let net = MemoryNet::new("a");
            let there = net.at("b");
            let mut listener = there.listen("b:1").await.expect("free");
            let mut buf = [0; 4];
            let (dialled, accepted) = both(net.dial("b:1"), listener.accept()).await;
            let (mut reader, mut writer) = dialled.expect("it listens").split();
            let (mut their_reader, mut their_writer) = accepted.expect("dialled").0.split();
            net.swallow("a", "b");
            writer.write(b"lost").await.expect("the writer is not told");
            assert!(poll_once(their_reader.read(&mut buf)).await.is_none(), "nothing arrives");
            their_writer.write(b"back").await.expect("written");
            assert!(matches!(reader.read(&mut buf).await, Ok(4)), "the other way is open");
            let mut dialling = pin!(net.dial("b:1"));
            assert!(poll_once(dialling.as_mut()).await.is_none(), "connecting waits");
            net.heal();
            assert!(matches!(poll_once(dialling).await, Some(Ok(_))));
            net.reset("a", "b");
            assert!(reader.read(&mut buf).await.is_err() && their_reader.read(&mut buf).await.is_err());
            assert!(writer.write(b"x").await.is_err());
        });
    }
}

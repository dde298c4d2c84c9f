//! The connection over which a trainer sends tensors: it listens, we connect. Raw little-endian bytes in the announced
//! order, without any framing, then 32 bytes of SHA-256 over them where that was agreed.
//!
//! A side that stops in the middle has lost step, for nothing marks where a tensor begins: such a connection is given up.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::FutureExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::{Trainer, UpdateError};
use crate::weights::{StagedTensors, TensorType};

/// How long a trainer may take to listen.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_EVERY: Duration = Duration::from_millis(50);
/// Of what is thrown away nobody knows whether it comes at all.
const DISCARD_SILENCE_MAX: Duration = Duration::from_secs(1);
const MORE_WITHIN: Duration = Duration::from_millis(50);
const CHECKSUM_BYTES: usize = 32;
/// Read at once.
const PIECE_BYTES: usize = 1 << 20;

pub struct WeightStream {
    socket: TcpStream,
    trainer: Trainer,
    in_step: bool,
    silence_max: Duration,
}

/// A tensor that is to come.
pub struct Expected {
    pub name: String,
    pub dtype: TensorType,
    pub shape: Vec<usize>,
}

impl WeightStream {
    pub async fn connect(trainer: &Trainer, silence_max: Duration) -> std::io::Result<Self> {
        let until = Instant::now() + CONNECT_TIMEOUT;
        loop {
            let error =
                match timeout(CONNECT_TIMEOUT, TcpStream::connect((trainer.host.as_str(), trainer.port)))
                    .await
                {
                    Ok(Ok(socket)) if is_itself(&socket) => std::io::ErrorKind::ConnectionRefused.into(),
                    Ok(Ok(socket)) => {
                        return Ok(Self { socket, trainer: trainer.clone(), in_step: true, silence_max });
                    }
                    Ok(Err(error)) => error,
                    Err(_) => std::io::ErrorKind::TimedOut.into(),
                };
            if Instant::now() + CONNECT_EVERY > until {
                return Err(error);
            }
            sleep(CONNECT_EVERY).await;
        }
    }

    /// Whether it leads to this trainer, who has not hung up.
    pub fn is_open_to(&self, trainer: &Trainer) -> bool {
        // Its end, an error, or bytes that no announcement has asked for.
        let has_something = || self.socket.peek(&mut [0]).now_or_never().is_some();
        self.trainer == *trainer && !has_something()
    }

    /// Whether what comes next is the beginning of an announcement's tensors.
    pub fn is_in_step(&self) -> bool {
        self.in_step
    }

    /// All of the tensors, or none.
    ///
    /// # Errors
    /// `Disconnected`, `Silent`, `Read`, `Checksum`.
    pub async fn receive(&mut self, expected: Vec<Expected>) -> Result<StagedTensors, UpdateError> {
        self.in_step = false;
        let mut hash = self.trainer.checksum.then(Sha256::new);
        let mut tensors = StagedTensors::default();
        for Expected { name, dtype, shape } in expected {
            let mut bytes = vec![0; shape.iter().product::<usize>() * dtype.block_bytes()];
            self.fill(&format!("`{name}`"), &mut bytes, hash.as_mut()).await?;
            tensors.insert(name, dtype, shape, bytes);
        }
        let Some(hash) = hash else {
            self.in_step = true;
            return Ok(tensors);
        };
        let mut sent = [0; CHECKSUM_BYTES];
        self.fill("the checksum", &mut sent, None).await?;
        self.in_step = true;
        if hash.finalize().as_slice() == sent { Ok(tensors) } else { Err(UpdateError::Checksum) }
    }

    /// Throws away the tensors of an announcement that was refused, if it is known how much they are and they come.
    pub async fn discard(&mut self, bytes: Option<usize>) {
        self.in_step = false;
        let Some(mut left) = bytes.map(|bytes| bytes + usize::from(self.trainer.checksum) * CHECKSUM_BYTES)
        else {
            return;
        };
        let mut piece = vec![0; PIECE_BYTES.min(left)];
        while left > 0 {
            let most = piece.len().min(left);
            match timeout(DISCARD_SILENCE_MAX, self.socket.read(&mut piece[..most])).await {
                Ok(Ok(read)) if read > 0 => left -= read,
                _ => return,
            }
        }
        // More than was announced: where the next tensor begins is anybody's guess.
        let more = timeout(MORE_WITHIN, self.socket.peek(&mut [0])).await;
        self.in_step = more.is_err();
    }

    async fn fill(
        &mut self,
        what: &str,
        bytes: &mut [u8],
        mut hash: Option<&mut Sha256>,
    ) -> Result<(), UpdateError> {
        let (mut received, expected) = (0, bytes.len());
        while received < expected {
            let most = (received + PIECE_BYTES).min(expected);
            let read = timeout(self.silence_max, self.socket.read(&mut bytes[received..most])).await;
            let what = || what.to_owned();
            let read = read
                .map_err(|_| UpdateError::Silent { what: what(), seconds: self.silence_max.as_secs() })?
                .map_err(|source| UpdateError::Read { what: what(), source })?;
            if read == 0 {
                return Err(UpdateError::Disconnected { what: what(), received, expected });
            }
            if let Some(hash) = &mut hash {
                hash.update(&bytes[received..received + read]);
            }
            received += read;
        }
        Ok(())
    }
}

/// `localhost` and loopback addresses.
pub fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Who knocks at a port of this machine that nobody listens on may be given that very port, and meet itself.
fn is_itself(socket: &TcpStream) -> bool {
    let same = |own: SocketAddr| socket.peer_addr().is_ok_and(|peer| peer == own);
    socket.local_addr().is_ok_and(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_several_names() {
        let check = |host: &str, expected: bool| assert_eq!(is_this_machine(host), expected, "{host}");
        check("127.0.0.1", true);
        check("127.1.2.3", true);
        check("::1", true);
        check("::ffff:127.0.0.1", true);
        check("localhost", true);
        check("0.0.0.0", false);
        check("192.0.2.1", false);
        check("localhost.example.org", false);
        check("", false);
    }
}

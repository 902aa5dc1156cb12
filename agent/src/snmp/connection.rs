//! The connection to a master, message by message.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};

use super::agentx::{DecodeError, HEAD, Message, decode, encode, payload_length};
use crate::config::Master;

/// What is read at once at most.
const CHUNK: usize = 4096;

/// What a connection is made of.
trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// A connection to a master.
pub struct Connection {
    stream: Box<dyn Stream>,
    /// What was read and is no whole message yet.
    read: Vec<u8>,
}

impl Connection {
    /// Connects to `master`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub async fn open(master: &Master) -> io::Result<Self> {
        let stream: Box<dyn Stream> = match master {
            Master::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Master::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        };
        Ok(Self {
            stream,
            read: Vec::new(),
        })
    }

    /// The next message. Nothing is lost if nobody waits for it to the end.
    ///
    /// # Errors
    ///
    /// If the connection ends, or what comes is no message: then it can't be told where the
    /// next one would begin.
    pub async fn receive(&mut self) -> io::Result<Message> {
        loop {
            if let Some(message) = first(&mut self.read).map_err(io::Error::other)? {
                return Ok(message);
            }
            self.read.reserve(CHUNK);
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Sends `message`.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub async fn send(&mut self, message: &Message) -> io::Result<()> {
        self.stream.write_all(&encode(message)).await
    }
}

/// Takes the first message out of `read`, if it is there to its end.
fn first(read: &mut Vec<u8>) -> Result<Option<Message>, DecodeError> {
    let Some((head, rest)) = read.split_first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let length = payload_length(head)?;
    let Some(payload) = rest.get(..length) else {
        return Ok(None);
    };
    let message = decode(head, payload)?;
    read.drain(..HEAD + length);
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snmp::agentx::{Body, Head};

    #[test]
    fn messages_come_in_pieces_and_together() {
        let message = |packet| Message {
            head: Head {
                packet,
                ..Head::default()
            },
            body: match packet % 2 {
                0 => Body::Ping,
                _ => Body::Get(vec![crate::snmp::agentx::SearchRange::default()]),
            },
        };
        let bytes: Vec<u8> = (0..4).flat_map(|packet| encode(&message(packet))).collect();
        for size in 1..bytes.len() {
            let (mut read, mut found) = (Vec::new(), Vec::new());
            for piece in bytes.chunks(size) {
                read.extend_from_slice(piece);
                while let Some(message) = first(&mut read).unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, (0..4).map(message).collect::<Vec<_>>(), "{size}");
            assert!(read.is_empty());
        }
    }
}

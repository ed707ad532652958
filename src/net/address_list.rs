//! Addresses on a stream between two members: the number of them, one byte, and each in binary form behind its length, one byte.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::Multiaddr;

/// Addresses in a list at most.
pub(super) const ADDRESSES: usize = 16;

/// Writes as many as there may be, and flushes.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), addresses: &[Multiaddr]) -> io::Result<()> {
    let sized = |address: &Multiaddr| Some((u8::try_from(address.as_ref().len()).ok()?, address.to_vec()));
    let sized: Vec<_> = addresses.iter().filter_map(sized).take(ADDRESSES).collect();
    let mut list = vec![sized.len() as u8];
    for (length, address) in sized {
        list.push(length);
        list.extend(address);
    }
    stream.write_all(&list).await?;
    stream.flush().await
}

/// What is no address is left out.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<Multiaddr>> {
    let mut count = [0];
    stream.read_exact(&mut count).await?;
    if usize::from(count[0]) > ADDRESSES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too many addresses"));
    }
    let mut addresses = Vec::new();
    for _ in 0..count[0] {
        let mut length = [0];
        stream.read_exact(&mut length).await?;
        let mut bytes = vec![0; length[0].into()];
        stream.read_exact(&mut bytes).await?;
        addresses.extend(Multiaddr::try_from(bytes));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;

    #[tokio::test]
    async fn what_is_no_list_of_addresses_is_an_error() {
        let plain: Vec<Multiaddr> = vec!["/ip4/192.0.2.1/tcp/1".parse().unwrap()];
        let mut list = Vec::new();
        write(&mut list, &[plain.clone(), plain.clone()].concat()).await.unwrap();
        assert_eq!(read(&mut Cursor::new(&list)).await.unwrap(), [plain.clone(), plain.clone()].concat());
        for cut in 0..list.len() {
            assert!(read(&mut Cursor::new(&list[..cut])).await.is_err(), "{cut}");
        }
        assert!(read(&mut Cursor::new([ADDRESSES as u8 + 1; 300])).await.is_err());
        assert_eq!(read(&mut Cursor::new([1, 2, 255, 255])).await.unwrap(), []);
        let mut long = Vec::new();
        write(&mut long, &vec![plain[0].clone(); 300]).await.unwrap();
        assert_eq!(read(&mut Cursor::new(&long)).await.unwrap().len(), ADDRESSES);
    }
}

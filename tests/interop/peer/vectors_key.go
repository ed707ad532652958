package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"os"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// keyVector is a private key that nobody may use for anything else: it is known to everybody.
type keyVector struct {
	Private string `json:"private"`
	Peer    string `json:"peer"`
}

// known makes the same key of the same letter each time.
func known(letter byte) (crypto.PrivKey, error) {
	return crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{letter}, ed25519.SeedSize)))
}

// keys are those of the owner, a thief and the node of the wire.
func keys() ([]keyVector, error) {
	all := []keyVector{}
	for _, letter := range []byte("otn") {
		private, err := known(letter)
		if err != nil {
			return nil, err
		}
		bytes, err := crypto.MarshalPrivateKey(private)
		if err != nil {
			return nil, err
		}
		id, err := peer.IDFromPrivateKey(private)
		if err != nil {
			return nil, err
		}
		all = append(all, keyVector{hex.EncodeToString(bytes), id.String()})
	}
	return all, nil
}

// nodeKey puts the node's key into a file of its own.
func nodeKey() (path string, remove func(), err error) {
	private, err := known('n')
	if err != nil {
		return "", nil, err
	}
	bytes, err := crypto.MarshalPrivateKey(private)
	if err != nil {
		return "", nil, err
	}
	file, err := os.CreateTemp("", "foreign-peer-key")
	if err != nil {
		return "", nil, err
	}
	defer file.Close()
	_, err = file.Write(bytes)
	return file.Name(), func() { _ = os.Remove(file.Name()) }, err
}

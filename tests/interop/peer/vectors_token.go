package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/routing"
	"github.com/mudler/edgevpn/pkg/crypto"
	"github.com/mudler/edgevpn/pkg/discovery"
	"github.com/mudler/edgevpn/pkg/node"
)

// tokenVector is a token and what follows from it at a time.
type tokenVector struct {
	Token          string `json:"token"`
	YAML           string `json:"yaml"`
	UnixS          int64  `json:"unix_s"`
	Rendezvous     string `json:"rendezvous"`
	DHTKey         string `json:"dht_key"`
	Topic          string `json:"topic"`
	SealingKey     string `json:"sealing_key"`
	Mdns           string `json:"mdns"`
	MaxMessageSize int    `json:"max_message_size"`
}

// oneTimeVector is the text that edgevpn makes of a key at a time.
type oneTimeVector struct {
	Key      string `json:"key"`
	Interval int    `json:"interval"`
	Length   int    `json:"length"`
	UnixS    int64  `json:"unix_s"`
	Text     string `json:"text"`
	MD5      string `json:"md5"`
}

// fixed is the same token each time, so that two versions can be compared.
func fixed() node.YAMLConnectionConfig {
	return node.YAMLConnectionConfig{
		OTP: node.OTP{
			DHT:    node.OTPConfig{Interval: 360, Key: "dhtKeyOfTheTokenThatTheVectorsAreTakenWith1", Length: 43},
			Crypto: node.OTPConfig{Interval: 9000, Key: "sealKeyOfTheTokenThatTheVectorsAreMadeWith2", Length: 43},
		},
		RoomName:       "roomOfTheTokenThatTheVectorsAreAllTakenFrom",
		Rendezvous:     "rendezvousOfTheTokenThatTheVectorsAreWith33",
		MDNS:           "mdnsNameOfTheTokenThatTheVectorsAreMadeWith",
		MaxMessageSize: 20 << 20,
	}
}

func tokens() ([]tokenVector, error) {
	still := fixed()
	still.OTP.DHT.Key = ""
	short := fixed()
	short.OTP.DHT.Length, short.OTP.Crypto.Length, short.OTP.Crypto.Interval = 1, 44, 7
	all := []tokenVector{}
	for _, config := range []node.YAMLConnectionConfig{fixed(), still, short, *node.GenerateNewConnectionData(360), *node.GenerateNewConnectionData()} {
		vector, err := derive(config)
		if err != nil {
			return nil, err
		}
		all = append(all, vector)
	}
	return all, nil
}

// derive says what follows from a token now. It tries again where the second changes meanwhile.
func derive(config node.YAMLConnectionConfig) (tokenVector, error) {
	for {
		start := time.Now().Unix()
		dht := discovery.DHT{
			OTPKey: config.OTP.DHT.Key, OTPInterval: config.OTP.DHT.Interval, KeyLength: config.OTP.DHT.Length,
			RendezvousString: config.Rendezvous,
		}
		rendezvous := dht.Rendezvous()
		key, err := dhtKey(rendezvous)
		if err != nil {
			return tokenVector{}, err
		}
		of := config.OTP.Crypto
		vector := tokenVector{
			Token: config.Base64(), YAML: config.YAML(), UnixS: start, Rendezvous: rendezvous, DHTKey: key,
			Topic:      crypto.MD5(crypto.TOTP(sha256.New, of.Length, of.Interval, config.RoomName)),
			SealingKey: crypto.MD5(crypto.TOTP(sha256.New, of.Length, of.Interval, of.Key)),
			Mdns:       config.MDNS, MaxMessageSize: config.MaxMessageSize,
		}
		if time.Now().Unix() == start {
			return vector, nil
		}
	}
}

// oneTime takes texts of several keys at two times.
func oneTime() ([]oneTimeVector, error) {
	all := []oneTimeVector{}
	for range 2 {
		for _, key := range []string{"", "k", fixed().OTP.DHT.Key, strings.Repeat("long", 50), "größe"} {
			for n, interval := range []int{1, 7, 360, 9000, 86400} {
				all = append(all, at(key, interval, []int{1, 12, 43, 44}[(n+len(all))%4]))
			}
		}
		time.Sleep(1100 * time.Millisecond)
	}
	return all, nil
}

func at(key string, interval, length int) oneTimeVector {
	for {
		start := time.Now().Unix()
		text := crypto.TOTP(sha256.New, length, interval, key)
		if time.Now().Unix() == start {
			return oneTimeVector{key, interval, length, start, text, crypto.MD5(text)}
		}
	}
}

// dhtKey is the multihash under which a node advertises itself.
func dhtKey(rendezvous string) (string, error) {
	var noted noted
	if _, err := routing.NewRoutingDiscovery(&noted).Advertise(context.Background(), rendezvous); err != nil {
		return "", err
	}
	if len(noted.keys) != 1 {
		return "", fmt.Errorf("%d keys were advertised instead of one", len(noted.keys))
	}
	return hex.EncodeToString(noted.keys[0].Hash()), nil
}

// noted is a DHT that notes what is advertised.
type noted struct{ keys []cid.Cid }

func (n *noted) Provide(_ context.Context, key cid.Cid, _ bool) error {
	n.keys = append(n.keys, key)
	return nil
}

func (n *noted) FindProvidersAsync(context.Context, cid.Cid, int) <-chan peer.AddrInfo {
	none := make(chan peer.AddrInfo)
	close(none)
	return none
}

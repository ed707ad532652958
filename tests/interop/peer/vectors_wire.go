package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-msgio"
	"github.com/mudler/edgevpn/pkg/crypto"
	"github.com/mudler/edgevpn/pkg/hub"
	"github.com/mudler/edgevpn/pkg/protocol"
	"github.com/mudler/edgevpn/pkg/types"
)

const floodsub = "/floodsub/1.0.0"

// What a node needs at most to say a block in which all is that was asked for.
const patience = 30 * time.Second

// wireVector is what a running node says to a peer that knows floodsub alone.
type wireVector struct {
	Ownership   string      `json:"ownership"`
	Of          tokenVector `json:"of"`
	Protocols   []string    `json:"protocols"`
	Subscribing string      `json:"subscribing"`
	Publishing  string      `json:"publishing"`
	ID          string      `json:"id"`
	Seqno       uint64      `json:"seqno"`
	Envelope    string      `json:"envelope"`
	Zipped      string      `json:"zipped"`
	Block       string      `json:"block"`
}

func wire(v *vectors) error {
	for _, ownership := range ownerships {
		vector, err := listen(ownership)
		if err != nil {
			return fmt.Errorf("the wire with ownership %s: %w", ownership, err)
		}
		v.Wire = append(v.Wire, vector)
	}
	return nil
}

// listen runs a node and a plain host beside it until the node has said all.
func listen(ownership string) (wireVector, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	path, remove, err := nodeKey()
	if err != nil {
		return wireVector{}, err
	}
	defer remove()
	of, err := derive(fixed())
	if err != nil {
		return wireVector{}, err
	}
	peer, err := start(ctx, wanted{
		token: of.Token, kind: "edgevpn", listen: list{"/ip4/127.0.0.1/tcp/0"}, keyFile: path, ownership: ownership,
		worker: "127.0.0.1:9", sync: time.Second, announce: time.Second, alive: time.Second, discovery: time.Minute,
		nodeData: time.Second, logLevel: "fatal",
	})
	if err != nil {
		return wireVector{}, err
	}
	defer peer.host.Close()
	self := peer.host.ID().String()
	peer.ledger.Add(protocol.UsersLedgerKey, map[string]any{self: types.User{PeerID: self, Timestamp: time.Now().String()}})
	return hear(ctx, peer, wireVector{Ownership: ownership, Of: of})
}

func hear(ctx context.Context, from *foreign, vector wireVector) (wireVector, error) {
	host, err := libp2p.New(libp2p.NoListenAddrs)
	if err != nil {
		return vector, err
	}
	defer host.Close()
	frames := make(chan []byte)
	host.SetStreamHandler(floodsub, func(stream network.Stream) {
		reader := msgio.NewVarintReaderSize(stream, fixed().MaxMessageSize)
		for {
			frame, err := reader.ReadMsg()
			if err != nil {
				return
			}
			select {
			case frames <- frame:
			case <-ctx.Done():
				return
			}
		}
	})
	if err := host.Connect(ctx, peer.AddrInfo{ID: from.host.ID(), Addrs: from.host.Addrs()}); err != nil {
		return vector, err
	}
	protocols, err := host.Peerstore().GetProtocols(from.host.ID())
	if err != nil {
		return vector, err
	}
	for _, protocol := range protocols {
		vector.Protocols = append(vector.Protocols, string(protocol))
	}
	stream, err := host.NewStream(ctx, from.host.ID(), floodsub)
	if err != nil {
		return vector, err
	}
	yes := true
	rpc := pb.RPC{Subscriptions: []*pb.RPC_SubOpts{{Subscribe: &yes, Topicid: &vector.Of.Topic}}}
	bytes, err := rpc.Marshal()
	if err != nil {
		return vector, err
	}
	if err := msgio.NewVarintWriter(stream).WriteMsg(bytes); err != nil {
		return vector, err
	}
	for {
		select {
		case frame := <-frames:
			if done, err := vector.take(frame); done || err != nil {
				return vector, err
			}
		case <-ctx.Done():
			return vector, errors.New("the node has not said everything in time")
		}
	}
}

// take keeps what a frame shows, and says whether that is all.
func (v *wireVector) take(frame []byte) (bool, error) {
	var rpc pb.RPC
	if err := rpc.Unmarshal(frame); err != nil {
		return false, err
	}
	if len(rpc.Subscriptions) > 0 && v.Subscribing == "" {
		v.Subscribing = hex.EncodeToString(frame)
	}
	if len(rpc.Publish) != 1 {
		return false, nil
	}
	message := rpc.Publish[0]
	if message.GetTopic() != v.Of.Topic {
		return false, fmt.Errorf("the topic is %s instead of %s", message.GetTopic(), v.Of.Topic)
	}
	var inner hub.Message
	if err := json.Unmarshal(message.Data, &inner); err != nil {
		return false, err
	}
	packed, err := new(crypto.AESSealer).Unseal(inner.Message, v.Of.SealingKey)
	if err != nil {
		return false, err
	}
	block, err := unzipped(strings.NewReader(packed))
	if err != nil {
		return false, err
	}
	for _, bucket := range []string{protocol.UsersLedgerKey, protocol.ServicesLedgerKey, protocol.HealthCheckKey, "federated"} {
		if !bytes.Contains([]byte(block), []byte(`"`+bucket+`":{`)) {
			return false, nil
		}
	}
	v.Publishing, v.Envelope, v.Block = hex.EncodeToString(frame), string(message.Data), block
	v.ID, v.Zipped = hex.EncodeToString([]byte(pubsub.DefaultMsgIdFn(message))), hex.EncodeToString([]byte(packed))
	for _, digit := range message.Seqno {
		v.Seqno = v.Seqno<<8 | uint64(digit)
	}
	return v.Subscribing != "", nil
}

package main

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"io"
	"strings"

	"github.com/mudler/edgevpn/pkg/crypto"
	"github.com/mudler/edgevpn/pkg/hub"
)

// sealedVector is a text and what edgevpn's sealer makes of it: nonce, ciphertext and tag in one.
type sealedVector struct {
	Key    string `json:"key"`
	Plain  string `json:"plain"`
	Sealed string `json:"sealed"`
}

// envelope is the JSON around a sealed text.
type envelope struct {
	Message string `json:"message"`
	JSON    string `json:"json"`
}

// sealed takes the keys that the tokens have now.
func sealed(tokens []tokenVector) []sealedVector {
	all := []sealedVector{}
	for _, token := range tokens {
		for _, plain := range []string{"", "hello", strings.Repeat("\x00\xff", 100)} {
			text, err := new(crypto.AESSealer).Seal(plain, token.SealingKey)
			if err != nil {
				fail(err)
			}
			all = append(all, sealedVector{token.SealingKey, hex.EncodeToString([]byte(plain)), text})
		}
	}
	return all
}

func envelopes() []envelope {
	messages := []*hub.Message{
		hub.NewMessage(""),
		hub.NewMessage("00ff"),
		{Message: "00ff", SenderID: "12D3KooW<&>", Annotations: map[string]any{"sigs": "x", "a": []int{1}}},
	}
	all := []envelope{}
	for _, message := range messages {
		all = append(all, envelope{message.Message, text(message)})
	}
	return all
}

// text is JSON as Go writes it.
func text(value any) string {
	bytes, err := json.Marshal(value)
	if err != nil {
		fail(err)
	}
	return string(bytes)
}

// zipped is what a ledger reads: gzip.
func zipped(plain string) string {
	var out bytes.Buffer
	writer := gzip.NewWriter(&out)
	if _, err := writer.Write([]byte(plain)); err != nil {
		fail(err)
	}
	if err := writer.Close(); err != nil {
		fail(err)
	}
	return out.String()
}

func unzipped(bytes io.Reader) (string, error) {
	reader, err := gzip.NewReader(bytes)
	if err != nil {
		return "", err
	}
	plain, err := io.ReadAll(reader)
	return string(plain), err
}

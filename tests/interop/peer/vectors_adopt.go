package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/mudler/edgevpn/pkg/blockchain"
	"github.com/mudler/edgevpn/pkg/hub"
)

// adoption is a ledger without ownership that holds a block and hears another, and whether that takes its place.
type adoption struct {
	What  string `json:"what"`
	Held  string `json:"held"`
	Heard string `json:"heard"`
	Taken bool   `json:"taken"`
	Error string `json:"error"`
}

// adoptions has one of the blocks heard as it is and changed, by a ledger that holds another.
func adoptions(blocks []blockVector) ([]adoption, error) {
	held, all := blocks[3], []adoption{}
	for _, heard := range []struct{ what, text string }{
		{"the same", held.JSON},
		{"a lower one", blocks[2].JSON},
		{"the next", blocks[4].JSON},
		{"a much higher one", changed(held.JSON, "Index", 1_000_000)},
		{"one of the same height and a greater hash", changed(held.JSON, "Hash", "f"+held.Hash[1:]+"f")},
		{"one of the same height and a smaller hash", changed(held.JSON, "Hash", "")},
		{"one of the same height and a hash of capital letters", changed(held.JSON, "Hash", strings.ToUpper("F"+held.Hash[1:]))},
		{"the next with a hash that is not its own", changed(blocks[4].JSON, "Hash", "x")},
		{"the next after another", changed(blocks[4].JSON, "PrevHash", "x")},
		{"the next without time", changed(blocks[4].JSON, "Timestamp", "")},
		{"the next with no storage", changed(blocks[4].JSON, "Storage", nil)},
		{"the next with something more", changed(blocks[4].JSON, "More", 1)},
		{"the next with a signed entry", changed(blocks[4].JSON, "Storage", map[string]any{"services": map[string]any{
			"ssh": map[string]any{"Value": "1", "Owner": "12D3KooWX", "Version": 1, "UpdatedAt": 1, "Deleted": false, "Sig": "AQI="},
		}})},
		{"the next with a number for an entry", changed(blocks[4].JSON, "Storage", map[string]any{"a": map[string]any{"b": 1}})},
	} {
		adopted, err := adopt(held.JSON, heard.text)
		adopted.What = heard.what
		if err != nil {
			return nil, fmt.Errorf("%s: %w", heard.what, err)
		}
		all = append(all, adopted)
	}
	return all, nil
}

func adopt(held, heard string) (adoption, error) {
	var block blockchain.Block
	if err := json.Unmarshal([]byte(held), &block); err != nil {
		return adoption{}, err
	}
	store := &blockchain.MemoryStore{}
	store.Add(block)
	ledger := blockchain.New(&said{}, store)
	vector := adoption{Held: held, Heard: heard}
	if err := ledger.Update(ledger, hub.NewMessage(zipped(heard)), nil); err != nil {
		vector.Error = err.Error()
	}
	vector.Taken = text(ledger.LastBlock()) != held
	return vector, nil
}

// changed is a block with one field of another value.
func changed(block, field string, value any) string {
	var fields map[string]any
	decoder := json.NewDecoder(strings.NewReader(block))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil {
		fail(err)
	}
	fields[field] = value
	return text(fields)
}

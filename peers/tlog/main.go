// Checks what this project exports with code that others wrote: golang.org/x/mod/sumdb, which is what
// the Go command trusts. It reads an export in C2SP tlog-tiles layout and proofs, and never writes.
//
//	go run peers/tlog -dir EXPORT -vkey VKEY [-inclusion FILE]... [-tlog-proof FILE]... [-consistency FILE]...
//
// Debian has the library: apt install golang-go golang-golang-x-mod-dev, then set
// GOPATH=/usr/share/gocode GO111MODULE=off.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	var inclusions, texts, consistencies files
	dir := flag.String("dir", "", "the exported log")
	vkey := flag.String("vkey", "", "key of the log")
	flag.Var(&inclusions, "inclusion", "inclusion bundle in JSON")
	flag.Var(&texts, "tlog-proof", "inclusion proof in C2SP tlog-proof, the leaf as extra data")
	flag.Var(&consistencies, "consistency", "consistency proof in JSON: {size1, root1, size2, root2, proof}")
	flag.Parse()
	if err := check(*dir, *vkey, inclusions, texts, consistencies); err != nil {
		fmt.Fprintln(os.Stderr, "tlog:", err)
		os.Exit(1)
	}
}

func check(dir, vkey string, inclusions, texts, consistencies files) error {
	tree, err := checkLog(dir, vkey)
	if err != nil {
		return err
	}
	for _, file := range inclusions {
		if err := checkInclusion(file, vkey); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	for _, file := range texts {
		if err := checkText(file, vkey); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	hashes := tlog.TileHashReader(tree, tiles(dir))
	for _, file := range consistencies {
		if err := checkConsistency(file, hashes); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	fmt.Printf("accepted: %d entries, %d bundles, %d tlog-proofs, %d consistency proofs\n",
		tree.N, len(inclusions), len(texts), len(consistencies))
	return nil
}

// checkLog verifies the checkpoint's signature, that the entries lead to its root, and that every tile
// holds the hashes they lead to.
func checkLog(dir, vkey string) (tree tlog.Tree, err error) {
	signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return tree, err
	}
	if tree, err = openCheckpoint(signed, vkey); err != nil {
		return tree, err
	}
	hashes, err := hashEntries(dir, tree.N)
	if err != nil {
		return tree, err
	}
	root, err := tlog.TreeHash(tree.N, hashes)
	if err != nil {
		return tree, err
	}
	if root != tree.Hash {
		return tree, errors.New("the entries lead to another root than the checkpoint's")
	}
	for _, tile := range allTiles(tree.N) {
		want, err := tlog.ReadTileData(tile, hashes)
		if err != nil {
			return tree, err
		}
		got, err := tiles(dir).ReadTiles([]tlog.Tile{tile})
		if err != nil {
			return tree, err
		}
		if !bytes.Equal(want, got[0]) {
			return tree, fmt.Errorf("tile %d/%d does not hold the hashes of the entries", tile.L, tile.N)
		}
	}
	return tree, nil
}

// allTiles gives each tile of a tree at its final width.
func allTiles(size int64) (all []tlog.Tile) {
	for level, hashes := 0, size; hashes > 0; level, hashes = level+1, hashes>>8 {
		for start := int64(0); start < hashes; start += 256 {
			all = append(all, tlog.Tile{H: 8, L: level, N: start / 256, W: int(min(256, hashes-start))})
		}
	}
	return all
}

// hashEntries reads all bundles. The library's TileHashReader would need fewer, but in the versions
// that distributions carry it lets some full tiles pass without comparing them with their parents.
func hashEntries(dir string, size int64) (tlog.HashReader, error) {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			hashes[i] = stored[index]
		}
		return hashes, nil
	})
	for start := int64(0); start < size; start += 256 {
		width := min(256, size-start)
		leaves, err := readBundle(filepath.Join(dir, tilePath("tile/entries", start/256, width)))
		if err != nil {
			return nil, err
		}
		if int64(len(leaves)) != width {
			return nil, fmt.Errorf("bundle %d has %d entries, not %d", start/256, len(leaves), width)
		}
		for i, leaf := range leaves {
			hashes, err := tlog.StoredHashes(start+int64(i), leaf, reader)
			if err != nil {
				return nil, err
			}
			stored = append(stored, hashes...)
		}
	}
	return reader, nil
}

// openCheckpoint reads a C2SP tlog-checkpoint. (tlog.ParseTree knows only that of the Go checksum
// database, whose first line is fixed.)
func openCheckpoint(signed []byte, vkey string) (tree tlog.Tree, err error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tree, err
	}
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return tree, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tree, errors.New("checkpoint of another log")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, err
}

// checkInclusion verifies an inclusion bundle by its own checkpoint and the given key.
func checkInclusion(file, vkey string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var bundle struct {
		Checkpoint string
		Vkey       string
		Index      int64
		Leaf       []byte
		Proof      tlog.RecordProof
	}
	if err := json.Unmarshal(text, &bundle); err != nil {
		return err
	}
	if bundle.Vkey != vkey {
		return errors.New("names another key")
	}
	return checkRecord(bundle.Checkpoint, vkey, bundle.Index, bundle.Leaf, bundle.Proof)
}

// checkText verifies a C2SP tlog-proof whose extra data is the leaf.
func checkText(file, vkey string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, checkpoint, found := strings.Cut(string(text), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" ||
		!strings.HasPrefix(lines[1], "extra ") || !strings.HasPrefix(lines[2], "index ") {
		return errors.New("not a tlog-proof with extra data")
	}
	leaf, err := base64.StdEncoding.DecodeString(lines[1][len("extra "):])
	if err != nil {
		return err
	}
	index, err := strconv.ParseInt(lines[2][len("index "):], 10, 64)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	return checkRecord(checkpoint, vkey, index, leaf, proof)
}

func checkRecord(checkpoint, vkey string, index int64, leaf []byte, proof tlog.RecordProof) error {
	tree, err := openCheckpoint([]byte(checkpoint), vkey)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(leaf))
}

// checkConsistency verifies a consistency proof, and that the library would have given the same one.
func checkConsistency(file string, hashes tlog.HashReader) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var given struct {
		Size1, Size2 int64
		Root1, Root2 tlog.Hash
		Proof        tlog.TreeProof
	}
	if err := json.Unmarshal(text, &given); err != nil {
		return err
	}
	if err := tlog.CheckTree(given.Proof, given.Size2, given.Root2, given.Size1, given.Root1); err != nil {
		return err
	}
	own, err := tlog.ProveTree(given.Size2, given.Size1, hashes)
	if err != nil {
		return err
	}
	if fmt.Sprint(own) != fmt.Sprint(given.Proof) {
		return errors.New("holds, but is not the proof that the RFC defines")
	}
	return nil
}

// tiles reads hash tiles from an export. The library lays them out as tile/HEIGHT/LEVEL/INDEX; C2SP,
// whose height is always 8, as tile/LEVEL/INDEX.
type tiles string

func (dir tiles) Height() int { return 8 }

func (dir tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(wanted))
	for i, tile := range wanted {
		path := tilePath("tile/"+strconv.Itoa(tile.L), tile.N, int64(tile.W))
		content, err := os.ReadFile(filepath.Join(string(dir), path))
		if err != nil {
			return nil, err
		}
		if len(content) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes", path, len(content))
		}
		data[i] = content
	}
	return data, nil
}

func (dir tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// tilePath follows the text of C2SP tlog-tiles: three digits an element, x before all but the last.
func tilePath(prefix string, index, width int64) string {
	path := fmt.Sprintf("%03d", index%1000)
	for index /= 1000; index > 0; index /= 1000 {
		path = fmt.Sprintf("x%03d/%s", index%1000, path)
	}
	if width < 256 {
		path += fmt.Sprintf(".p/%d", width)
	}
	return prefix + "/" + path
}

// readBundle splits a bundle into entries, each after its length in two bytes.
func readBundle(path string) ([][]byte, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var leaves [][]byte
	for reader := bytes.NewReader(content); reader.Len() > 0; {
		var length uint16
		if err := binary.Read(reader, binary.BigEndian, &length); err != nil {
			return nil, err
		}
		if int(length) > reader.Len() {
			return nil, fmt.Errorf("%s is cut short", path)
		}
		leaf := make([]byte, length)
		reader.Read(leaf)
		leaves = append(leaves, leaf)
	}
	return leaves, nil
}

func min(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}

// files is a flag that may be given several times.
type files []string

func (f *files) String() string { return strings.Join(*f, " ") }

func (f *files) Set(file string) error {
	*f = append(*f, file)
	return nil
}

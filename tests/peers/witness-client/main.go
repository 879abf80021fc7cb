// witness-client asks a witness with the client of transparency-dev/witness, and verifies the answer
// with golang.org/x/mod and transparency-dev/formats. It shares no code with Weighbridge.
//
//	witness-client URL OLD PROOF NOTEFILE VKEY
//
// PROOF is a list of base64 hashes joined by commas. Exit 0: VKEY's cosignature is in the answer and
// right. Exit 1: refused.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	cosig "github.com/transparency-dev/formats/note"
	client "github.com/transparency-dev/witness/client/http"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println("FAIL", err)
		os.Exit(1)
	}
	fmt.Println("verified")
}

func run(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("usage: witness-client URL OLD PROOF NOTEFILE VKEY")
	}
	address, err := url.Parse(args[0])
	if err != nil {
		return err
	}
	old, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	var proof [][]byte
	for _, text := range strings.Split(args[2], ",") {
		if text == "" {
			continue
		}
		hash, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	checkpoint, err := os.ReadFile(args[3])
	if err != nil {
		return err
	}
	verifier, err := verifier(args[4])
	if err != nil {
		return err
	}
	lines, size, err := client.NewWitness(address, http.DefaultClient).
		Update(context.Background(), old, checkpoint, proof)
	if err != nil {
		return fmt.Errorf("size %d: %w", size, err)
	}
	opened, err := note.Open(bytes.Join([][]byte{checkpoint, lines}, nil), note.VerifierList(verifier))
	if err != nil {
		return err
	}
	if len(opened.Sigs) != 1 {
		return fmt.Errorf("%d signatures by %s", len(opened.Sigs), verifier.Name())
	}
	return nil
}

// An Ed25519 (0x04) or an ML-DSA-44 (0x06) verifier.
func verifier(vkey string) (note.Verifier, error) {
	if verifier, err := cosig.NewMLDSAVerifier(vkey); err == nil {
		return verifier, nil
	}
	return cosig.NewVerifierForCosignatureV1(vkey)
}

// A cosign KMS plugin on sigstore's own handler of the protocol: its keys are files, in PEM.
package main

import (
	"context"
	"crypto"
	"errors"
	"os"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/handler"
)

type files struct {
	signature.SignerVerifier
}

func (files) CreateKey(context.Context, string) (crypto.PublicKey, error) {
	return nil, errors.New("not here")
}

func (files) CryptoSigner(context.Context, func(error)) (crypto.Signer, crypto.SignerOpts, error) {
	return nil, nil, errors.New("not here")
}

func (files) SupportedAlgorithms() []string { return nil }

func (files) DefaultAlgorithm() string { return "" }

func main() {
	fail := func(err error) {
		handler.WriteErrorResponse(os.Stdout, err)
		os.Exit(0)
	}
	arguments, err := handler.GetPluginArgs(os.Args)
	if err != nil {
		fail(err)
	}
	pem, err := os.ReadFile(arguments.InitOptions.KeyResourceID)
	if err != nil {
		fail(err)
	}
	key, err := cryptoutils.UnmarshalPEMToPrivateKey(pem, nil)
	if err != nil {
		fail(err)
	}
	signer, err := signature.LoadSignerVerifier(key, arguments.InitOptions.HashFunc)
	if err != nil {
		fail(err)
	}
	handler.Dispatch(os.Stdout, os.Stdin, arguments, files{signer})
}

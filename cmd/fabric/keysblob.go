package main

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/domain/artifact"
)

func (a *app) keysVerifyBlob() *cobra.Command {
	var bundle, key string
	cmd := &cobra.Command{
		Use: "verify-blob FILE", Short: "Verify a file and a bundle that stock cosign sign-blob wrote, with one public key and no network",
		Long: `Says that the holder of the key signed exactly these bytes, and not as what: a bare signature names no
type, so the fabric itself accepts none. What the fabric signs is a statement; see fabric model verify and fabric verify.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			public, err := readPublicKey(key)
			if err != nil {
				return err
			}
			text, err := readUpTo(bundle, artifact.MaxBundle)
			if err != nil {
				return usage(err)
			}
			digest, err := digestOfFile(args[0])
			if err != nil {
				return usage(err)
			}
			signer, err := artifact.VerifyBlob([]*ecdsa.PublicKey{public}, text, digest)
			if err != nil {
				return err
			}
			shown := struct {
				Digest artifact.Digest `json:"digest"`
				Key    artifact.Digest `json:"key"`
			}{digest, signer}
			return a.print(shown, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "OK\t%s\tsigned by %s\n", shown.Digest, shown.Key)
			})
		},
	}
	cmd.Flags().StringVar(&bundle, "bundle", "", "bundle file that cosign sign-blob --bundle wrote")
	cmd.Flags().StringVar(&key, "key", "", "public key file; no policy decides here, so it is named outright")
	must(cmd.MarkFlagRequired("bundle"))
	must(cmd.MarkFlagRequired("key"))
	return cmd
}

// readUpTo reads a file, and one byte more than the limit of one that is
// larger: whoever reads it refuses it by its size.
func readUpTo(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, limit+1))
}

// digestOfFile hashes a file of any size.
func digestOfFile(path string) (artifact.Digest, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, file, make([]byte, 256<<10)); err != nil {
		return "", err
	}
	return artifact.Summed(sum), nil
}

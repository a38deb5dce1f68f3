package api

import (
	"errors"
	"io"
)

// pieceBytes is how much of a content is read, hashed and sent at once.
const pieceBytes = 256 << 10

// A readPiece is what one Read gave.
type readPiece struct {
	content []byte
	err     error
}

// readAhead copies like io.Copy, and reads the next piece while one is written:
// what src hashes and what dst sends then take two cores, and not the sum of
// their times. When it returns nobody reads src any more.
func readAhead(dst io.Writer, src io.Reader) (int64, error) {
	free, read := make(chan []byte, 2), make(chan readPiece, 2)
	free <- make([]byte, pieceBytes)
	free <- make([]byte, pieceBytes)
	go func() {
		defer close(read)
		for buffer := range free {
			n, err := src.Read(buffer)
			read <- readPiece{buffer[:n], err}
			if err != nil {
				return
			}
		}
	}()
	var written int64
	var failed error
	for p := range read {
		if failed != nil {
			continue // was read before the reader heard of it
		}
		n, err := dst.Write(p.content)
		written += int64(n)
		switch {
		case err != nil:
			failed = err
			close(free)
		case p.err != nil && !errors.Is(p.err, io.EOF):
			failed = p.err
		case p.err == nil:
			free <- p.content[:cap(p.content)]
		}
	}
	return written, failed
}

package artifact

import (
	"fmt"
	"io"
)

// A TensorWriter writes a model tensor by tensor, with memory for its header
// only. The elements are written as bytes, end to end in the order of the
// header; [TensorWriter.Close] says whether all came.
type TensorWriter struct {
	dst  io.Writer
	left int64
}

// NewTensorWriter writes the header of these tensors, by ascending name.
// Begin and End need not be set. Errors: those of [Tensors.Encode]; a failure
// of dst as it is.
func NewTensorWriter(dst io.Writer, tensors []TensorInfo) (*TensorWriter, error) {
	infos := append([]TensorInfo(nil), tensors...)
	if err := place(infos); err != nil {
		return nil, err
	}
	if _, err := writeHeader(dst, infos); err != nil {
		return nil, err
	}
	return &TensorWriter{dst: dst, left: infos[len(infos)-1].End}, nil
}

// Write writes the next bytes of the data, little-endian. More than the header
// announces is refused with [ErrTail], and nothing of it written.
func (w *TensorWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > w.left {
		return 0, fmt.Errorf("%d bytes, not %d: %w", len(p), w.left, ErrTail)
	}
	n, err := w.dst.Write(p)
	w.left -= int64(n)
	return n, err
}

// Close returns [ErrTruncated] if fewer bytes came than the header announces.
// It does not close what is written to.
func (w *TensorWriter) Close() error {
	if w.left > 0 {
		return fmt.Errorf("%d bytes are missing: %w", w.left, ErrTruncated)
	}
	return nil
}

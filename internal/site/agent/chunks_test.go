package agent

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// A shelf takes uploads in pieces as openapi.yaml says, and lets a test spoil
// its answers.
type shelf struct {
	mu    sync.Mutex
	kept  []byte
	spans []string
	spoil func(call int, w http.ResponseWriter, r *http.Request) bool // answers in its place, before the piece is taken
	lose  func(call int) bool                                         // takes the piece and hangs up
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spans = append(s.spans, r.Header.Get("Content-Range"))
	call := len(s.spans)
	if s.spoil != nil && s.spoil(call, w, r) {
		return
	}
	body, _ := io.ReadAll(r.Body)
	var first, last, total int
	if n, _ := fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &total); n == 3 {
		if first != len(s.kept) {
			s.problem(w, 409, "wrong_offset")
			return
		}
		s.kept = append(s.kept, body...)
	} else if n, _ := fmt.Sscanf(r.Header.Get("Content-Range"), "bytes */%d", &total); n != 1 {
		s.problem(w, 400, "invalid_request")
		return
	}
	if s.lose != nil && s.lose(call) {
		panic(http.ErrAbortHandler)
	}
	if len(s.kept) == total {
		w.WriteHeader(201)
		return
	}
	s.keeps(w)
	w.WriteHeader(308)
}

func (s *shelf) keeps(w http.ResponseWriter) {
	if len(s.kept) > 0 {
		w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", len(s.kept)-1))
	}
}

func (s *shelf) problem(w http.ResponseWriter, status int, code string) {
	s.keeps(w)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"status":%d,"code":%q,"title":"x"}`, status, code)
}

const mib = 1 << 20

// content of three pieces.
func long() []byte {
	out := make([]byte, 20*mib)
	rand.NewChaCha8([32]byte{5}).Read(out)
	return out
}

const (
	question = "bytes */20971520"
	piece1   = "bytes 0-8388607/20971520"
	piece2   = "bytes 8388608-16777215/20971520"
	piece3   = "bytes 16777216-20971519/20971520"
)

func TestAnUploadInPieces(t *testing.T) {
	content := long()
	tests := []struct {
		name  string
		kept  int // before the first call
		spoil func(s *shelf) func(int, http.ResponseWriter, *http.Request) bool
		lose  int // the call whose answer is lost
		calls int // of PutBlob
		want  []string
	}{
		{name: "at once", calls: 1, want: []string{question, piece1, piece2, piece3}},
		{name: "goes on where a killed site was", kept: 16 * mib, calls: 1, want: []string{question, piece3}},
		{name: "goes on in the middle of a piece", kept: 13 * mib, calls: 1, want: []string{question, "bytes 13631488-20971519/20971520"}},
		{name: "is there already", kept: 20 * mib, calls: 1, want: []string{question}},
		{name: "a lost answer in the middle", lose: 3, calls: 2, want: []string{question, piece1, piece2, question, piece3}},
		{name: "a lost answer at the end", lose: 4, calls: 2, want: []string{question, piece1, piece2, piece3, question}},
		{name: "no room, twice", calls: 1, want: []string{question, piece1, question, piece1, question, piece1, piece2, piece3},
			spoil: func(s *shelf) func(int, http.ResponseWriter, *http.Request) bool {
				return func(call int, w http.ResponseWriter, _ *http.Request) bool {
					if call == 2 || call == 4 {
						w.Header().Set("Retry-After", "0")
						s.problem(w, 429, "uploads_full")
						return true
					}
					return false
				}
			}},
		{name: "another sender was faster", calls: 1, want: []string{question, piece1, piece3},
			spoil: func(s *shelf) func(int, http.ResponseWriter, *http.Request) bool {
				return func(call int, _ http.ResponseWriter, _ *http.Request) bool {
					if call == 2 {
						s.kept = slices.Clone(content[:16*mib])
					}
					return false
				}
			}},
		{name: "the fabric lost what it kept", calls: 1, want: []string{question, piece1, piece2, piece1, piece2, piece3},
			spoil: func(s *shelf) func(int, http.ResponseWriter, *http.Request) bool {
				return func(call int, _ http.ResponseWriter, _ *http.Request) bool {
					if call == 3 {
						s.kept = nil
					}
					return false
				}
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &shelf{kept: slices.Clone(content[:tt.kept]), lose: func(call int) bool { return call == tt.lose }}
			if tt.spoil != nil {
				s.spoil = tt.spoil(s)
			}
			server := httptest.NewServer(s)
			defer server.Close()
			fabric, err := Dial(server.URL, http.DefaultTransport)
			require.NoError(t, err)
			for call := 1; call <= tt.calls; call++ {
				err = fabric.PutBlob(t.Context(), "t", artifact.DigestOf(content), int64(len(content)), bytes.NewReader(content))
				require.Equal(t, call < tt.calls, err != nil, "%v", err)
				require.False(t, final(err), "it is worth another call")
			}
			require.Equal(t, tt.want, s.spans)
			require.Equal(t, artifact.DigestOf(content), artifact.DigestOf(s.kept))
		})
	}
}

func TestAnUploadThatGetsNowhereEnds(t *testing.T) {
	content := long()
	answers := func(status int, header, value, code string) func(int, http.ResponseWriter, *http.Request) bool {
		return func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			if header != "" {
				w.Header().Set(header, value)
			}
			w.WriteHeader(status)
			if code != "" {
				fmt.Fprintf(w, `{"status":%d,"code":%q,"title":"x"}`, status, code)
			}
			return true
		}
	}
	tests := []struct {
		name  string
		spoil func(int, http.ResponseWriter, *http.Request) bool
		says  string
		calls int
		final bool
	}{
		{"always at the same place", answers(308, "Range", "bytes=0-8388607", ""), "gets no further", 7, false},
		{"whole, but never stored", answers(308, "Range", "bytes=0-20971519", ""), "gets no further", 7, false},
		{"more than there is", answers(308, "Range", "bytes=0-20971520", ""), "said to be kept", 1, false},
		{"a range that is none", answers(308, "Range", "bytes=5-7", ""), "not of the contract", 1, false},
		{"a redirect", answers(308, "Location", "http://127.0.0.1:1/", ""), "redirects", 1, false},
		{"a stage that was closed", answers(409, "", "", "no_open_stage"), "no_open_stage", 1, true},
		{"a digest that is wrong", answers(422, "", "", "unverified"), "unverified", 1, true},
		{"a proxy's page", answers(409, "", "", ""), "without a problem document", 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &shelf{spoil: tt.spoil}
			server := httptest.NewServer(s)
			defer server.Close()
			fabric, err := Dial(server.URL, http.DefaultTransport)
			require.NoError(t, err)
			err = fabric.PutBlob(t.Context(), "t", artifact.DigestOf(content), int64(len(content)), bytes.NewReader(content))
			require.ErrorContains(t, err, tt.says)
			require.Equal(t, tt.final, final(err))
			require.Len(t, s.spans, tt.calls)
		})
	}
}

func TestHowLongAnUploadWaits(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": time.Second, "0": time.Second, "soon": time.Second, "-1": time.Second, "30": 30 * time.Second, "3600": time.Minute, "70000": time.Second,
	} {
		require.Equal(t, want, retryAfter(http.Header{"Retry-After": {text}}), text)
	}
}

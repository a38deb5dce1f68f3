package router

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/atom-fabric/fabric/internal/durable"
)

const (
	segmentBytes = 4 << 20  // of a file
	spoolBytes   = 64 << 20 // of all files, unless the options say otherwise
	maxRecord    = 16 << 10
	idFile       = "spool.id"
	cursorFile   = "shipped"
)

// A spool is a bounded log of records on disk: files of lines of JSON, each
// named by the sequence number of its first line. A number is given once and
// never again; a number that no line has is of a record that was lost. The oldest file goes
// when there is no room, shipped or not.
type spool struct {
	dir   string
	id    string // random, made with the directory: numbers count in it
	limit int64
	sync  func(*os.File) error

	mu       sync.Mutex
	segments []segment // the last one is written to
	file     *os.File  // nil: to be opened
	last     int64     // number given last
	durable  int64     // number up to which everything that was kept is on disk
	shipped  int64     // number up to which all has arrived at the control plane, or never will
	lost     func(int) // is told how many went that had not been shipped
	grown    chan struct{}
}

// A segment is one file.
type segment struct {
	first int64
	last  int64 // 0: nothing in it
	size  int64
}

func (s *spool) path(g segment) string {
	return filepath.Join(s.dir, fmt.Sprintf("decisions-%020d.jsonl", g.first))
}

// openSpool goes on with what an earlier process left. lost is told of records
// that go without having been shipped.
func openSpool(dir string, limit int64, lost func(int)) (*spool, error) {
	s := &spool{dir: filepath.Join(dir, "decisions"), limit: limit, lost: lost, sync: (*os.File).Sync, grown: make(chan struct{}, 1)}
	if s.limit <= 0 {
		s.limit = spoolBytes
	}
	fail := func(err error) (*spool, error) { return nil, fmt.Errorf("decision records: %w", err) }
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fail(err)
	}
	var err error
	if s.id, err = spoolID(s.dir); err != nil {
		return fail(err)
	}
	if text, err := os.ReadFile(filepath.Join(s.dir, cursorFile)); err == nil {
		s.shipped, _ = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64) // 0 ships again what has arrived
	}
	names, err := filepath.Glob(filepath.Join(s.dir, "decisions-*.jsonl"))
	if err != nil {
		return fail(err)
	}
	slices.Sort(names)
	for _, name := range names {
		g, err := readSegment(name)
		if err != nil {
			return fail(err)
		}
		if g.first > 0 {
			s.segments = append(s.segments, g)
			s.last = max(s.last, g.first-1, g.last)
		}
	}
	s.last = max(s.last, s.shipped)
	s.durable = s.last
	return s, nil
}

// spoolID reads the id of a spool, or makes it.
func spoolID(dir string) (string, error) {
	path := filepath.Join(dir, idFile)
	text, err := os.ReadFile(path)
	if err == nil {
		id := strings.TrimSpace(string(text))
		if raw, err := hex.DecodeString(id); err != nil || len(raw) != 16 {
			return "", fmt.Errorf("%s: not 32 hex digits", path)
		}
		return id, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the program instead
	id := hex.EncodeToString(raw)
	return id, durable.Write(path, []byte(id+"\n"), 0o600)
}

// readSegment reads how far a file goes. A line that a crash cut short is cut
// off: it was never on disk as far as anybody was told.
func readSegment(path string) (segment, error) {
	digits := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "decisions-"), ".jsonl")
	first, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || first <= 0 {
		return segment{}, nil // of an older version of this program, or nobody's
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return segment{}, err
	}
	whole := int64(bytes.LastIndexByte(text, '\n') + 1)
	if whole < int64(len(text)) {
		if err := os.Truncate(path, whole); err != nil {
			return segment{}, err
		}
	}
	g := segment{first: first, size: whole}
	for lines := text[:whole]; len(lines) > 0 && g.last == 0; {
		lines = lines[:len(lines)-1]
		at := bytes.LastIndexByte(lines, '\n') + 1
		g.last = sequenceOf(lines[at:])
		lines = lines[:at]
	}
	return g, nil
}

// sequenceOf returns the number of a line, 0 if it is none.
func sequenceOf(line []byte) int64 {
	rest, found := bytes.CutPrefix(line, []byte(`{"seq":`))
	if !found {
		return 0
	}
	n := int64(0)
	for _, c := range rest {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

// reserve gives n numbers and returns the last of them.
func (s *spool) reserve(n int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last += n
	return s.last
}

// append writes lines whose numbers were reserved, the last one given included,
// and returns when they are on disk. If it fails, none of them is kept.
func (s *spool) append(lines []byte, count int) error {
	s.mu.Lock()
	file, err := s.open(lines)
	var size int64
	if err == nil {
		size = s.segments[len(s.segments)-1].size
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	_, err = file.Write(lines)
	if err == nil {
		err = s.sync(file)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		err = errors.Join(err, file.Truncate(size), file.Close())
		s.file = nil
		return err
	}
	g := &s.segments[len(s.segments)-1]
	g.size, g.last = size+int64(len(lines)), s.last
	s.durable = s.last
	select {
	case s.grown <- struct{}{}:
	default:
	}
	return nil
}

// open returns the file that lines go to: a new one when the last is full.
func (s *spool) open(lines []byte) (*os.File, error) {
	if n := len(s.segments); s.file != nil && s.segments[n-1].size >= segmentBytes {
		err := s.file.Close()
		if s.file = nil; err != nil {
			return nil, err
		}
	}
	if s.file != nil {
		return s.file, nil
	}
	s.trim(int64(len(lines)))
	if n := len(s.segments); n == 0 || s.segments[n-1].size >= segmentBytes {
		s.segments = append(s.segments, segment{first: max(1, sequenceOf(lines))})
	}
	g := &s.segments[len(s.segments)-1]
	file, err := os.OpenFile(s.path(*g), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		if g.last == 0 {
			s.segments = s.segments[:len(s.segments)-1]
		}
		return nil, err
	}
	// What a write that failed left behind must not be read.
	if err := file.Truncate(g.size); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	s.file = file
	return file, nil
}

// trim removes the oldest files until there is room for another one.
func (s *spool) trim(more int64) {
	size := more
	for _, g := range s.segments {
		size += g.size
	}
	for len(s.segments) > 1 && size+segmentBytes > s.limit {
		oldest := s.segments[0]
		if err := os.Remove(s.path(oldest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return // the next file tries again
		}
		if gone := oldest.last - max(s.shipped, oldest.first-1); gone > 0 {
			s.lost(int(gone))
		}
		size -= oldest.size
		s.segments = s.segments[1:]
	}
}

func (s *spool) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	file := s.file
	s.file = nil
	return file.Close()
}

// read returns the lines of up to count records after what was shipped, at most limit
// bytes, all of them on disk, with the number of the last.
func (s *spool) read(count, limit int) (lines [][]byte, last int64, err error) {
	s.mu.Lock()
	after, durable := s.shipped, s.durable
	segments := slices.Clone(s.segments)
	s.mu.Unlock()
	last = after
	for _, g := range segments {
		if g.last <= after || len(lines) >= count {
			continue
		}
		file, err := os.Open(s.path(g))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it had to go meanwhile
		}
		if err != nil {
			return nil, 0, err
		}
		scanner := scan(io.LimitReader(file, g.size))
		for scanner.Scan() && len(lines) < count && limit > 0 {
			line := scanner.Bytes()
			n := sequenceOf(line)
			if n <= after || n > durable {
				continue
			}
			lines, last = append(lines, bytes.Clone(line)), n
			limit -= len(line)
		}
		if err := errors.Join(scanner.Err(), file.Close()); err != nil {
			return nil, 0, err
		}
	}
	return lines, last, nil
}

func scan(from io.Reader) *bufio.Scanner {
	scanner := bufio.NewScanner(from)
	scanner.Buffer(make([]byte, 0, maxRecord), maxRecord)
	return scanner
}

// arrived notes that nothing up to a number needs to be shipped any more. If we
// crash before it is on disk, the same is shipped again, which changes nothing.
func (s *spool) arrived(last int64) error {
	s.mu.Lock()
	if last <= s.shipped {
		s.mu.Unlock()
		return nil
	}
	s.shipped = last
	s.mu.Unlock()
	return durable.Write(filepath.Join(s.dir, cursorFile), []byte(strconv.FormatInt(last, 10)+"\n"), 0o600)
}

// pending returns how many numbers have not been shipped, and how much is kept.
func (s *spool) pending() (numbers, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.segments {
		size += g.size
	}
	return max(0, s.durable-s.shipped), size
}

// find looks for a decision in the files, the newest first.
func (s *spool) find(id string) (Record, bool) {
	s.mu.Lock()
	segments := slices.Clone(s.segments)
	s.mu.Unlock()
	for _, g := range slices.Backward(segments) {
		if record, ok := search(s.path(g), id); ok {
			return record, true
		}
	}
	return Record{}, false
}

func search(path, id string) (Record, bool) {
	file, err := os.Open(path)
	if err != nil {
		return Record{}, false
	}
	defer file.Close()
	lines := scan(file)
	for lines.Scan() {
		if !bytes.Contains(lines.Bytes(), []byte(id)) {
			continue
		}
		var record Record
		if json.Unmarshal(lines.Bytes(), &record) == nil && record.DecisionID == id {
			return record, true
		}
	}
	return Record{}, false
}

// oldest returns when the first record was made that has not been shipped.
func (s *spool) oldest() (time.Time, bool) {
	lines, _, err := s.read(1, 1)
	var record Record
	if err != nil || len(lines) == 0 || json.Unmarshal(lines[0], &record) != nil {
		return time.Time{}, false
	}
	return record.At, true
}

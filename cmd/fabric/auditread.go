package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/internal/auditexport"
)

// leavesAtOnce is the longest page of leaves.
const leavesAtOnce = 200

// auditCheck is the outcome of rebuilding the tree.
type auditCheck struct {
	Origin  string            `json:"origin"`
	Size    int64             `json:"size"`
	Root    artifact.Digest   `json:"root"`
	Shown   int64             `json:"shown"`             // leaves whose content was checked
	Signed  bool              `json:"signed"`            // by the key that is pinned
	Kept    int64             `json:"kept,omitempty"`    // size of the earlier checkpoint that the log extends
	Regions map[string]string `json:"regions,omitempty"` // what each region keeps, held against the log

	note string
}

// verifyAudit reads every leaf, hashes it, and compares the root with the
// checkpoint's. A leaf of another tenant counts by its hash. The signature is
// checked when the log's key is known.
func (c *caller) verifyAudit(ctx context.Context) (auditCheck, error) {
	log, err := c.pinnedLog("")
	if err != nil {
		return auditCheck{}, err
	}
	return c.rebuild(ctx, log)
}

// newest reads the checkpoint, and its signature when the key is known.
func (c *caller) newest(ctx context.Context, log *audit.Verifier) (audit.Checkpoint, string, error) {
	told, err := v1.Fetch[v1.Checkpoint](c.AuditCheckpoint(ctx))
	if err != nil {
		return audit.Checkpoint{}, "", err
	}
	point := audit.Checkpoint{Origin: told.Origin, Size: told.Size}
	if point.Root, err = audit.HashOf(artifact.Digest(told.Root)); err != nil {
		return point, "", fmt.Errorf("%w: the checkpoint: %w", ErrChain, err)
	}
	if log == nil {
		return point, told.Note, nil
	}
	signed, err := log.Open(told.Note)
	if err == nil && signed != point {
		err = errors.New("the signed note says something else than the answer around it")
	}
	if err != nil {
		return point, "", fmt.Errorf("%w: the checkpoint of %d leaves: %w", ErrChain, told.Size, err)
	}
	return point, told.Note, nil
}

// rebuild makes the tree of a checkpoint from the leaves.
func (c *caller) rebuild(ctx context.Context, log *audit.Verifier) (auditCheck, error) {
	point, note, err := c.newest(ctx, log)
	if err != nil {
		return auditCheck{}, err
	}
	check := auditCheck{Origin: point.Origin, Size: point.Size, Signed: log != nil, note: note}
	var tiler audit.Tiler
	var tiles []audit.FilledTile
	err = c.eachLeaf(ctx, point.Size, func(l auditexport.Leaf) error {
		if l.Body != nil {
			check.Shown++
		}
		tiles = append(tiles, tiler.Add(l.Hash)...)
		return nil
	})
	if err != nil {
		return check, err
	}
	root := tiler.Tree.Root()
	check.Root = root.Digest()
	if root != point.Root {
		where := c.locate(ctx, append(tiles, tiler.Partial()...))
		return check, fmt.Errorf("%w: the leaves give root %s, the checkpoint of %d leaves says %s: %s", ErrChain, root, point.Size, point.Root, where)
	}
	return check, nil
}

// locate says which leaves are wrong, by the tiles of hashes that the log has
// stored: the lowest that differs.
func (c *caller) locate(ctx context.Context, tiles []audit.FilledTile) string {
	for level := range 8 {
		for _, tile := range tiles {
			if tile.Level != level {
				continue
			}
			_, index, _ := strings.Cut(tile.Path(), "/")
			stored, err := v1.Content(c.AuditTile(ctx, level, index))
			if err != nil {
				return "where cannot be told: " + err.Error()
			}
			for i := range tile.Width {
				at := i * len(audit.Hash{})
				if at+len(audit.Hash{}) > len(stored) || !bytes.Equal(stored[at:at+len(audit.Hash{})], tile.Bytes[at:at+len(audit.Hash{})]) {
					below := int64(1) << (audit.TileHeight * level)
					first := (tile.Index*audit.TileWidth + int64(i)) * below
					if below == 1 {
						return fmt.Sprintf("leaf %d was changed", first)
					}
					return fmt.Sprintf("one of the leaves %d to %d was changed", first, first+below-1)
				}
			}
		}
	}
	return "the stored hashes follow from the leaves, so they were changed together; compare with an export that you kept"
}

// eachLeaf calls fn with the first size leaves in order.
func (c *caller) eachLeaf(ctx context.Context, size int64, fn func(auditexport.Leaf) error) error {
	for next := int64(0); next < size; {
		page, err := v1.Fetch[v1.LeafPage](c.AuditLeaves(ctx, &v1.AuditLeavesParams{From: next, Limit: leavesAtOnce, Tenant: c.tenant}))
		if err != nil {
			return err
		}
		if len(page.Items) == 0 {
			return fmt.Errorf("%w: the checkpoint counts %d leaves, the log shows %d", ErrChain, size, next)
		}
		for _, item := range page.Items {
			if next == size {
				return nil // appended after the checkpoint was read
			}
			if item.Index != next {
				return fmt.Errorf("%w: leaf %d is missing, leaf %d is in its place", ErrChain, next, item.Index)
			}
			l := auditexport.Leaf{Index: item.Index}
			if l.Hash, err = leafHash(item); err != nil {
				return err
			}
			if len(item.Leaf) > 0 {
				if l.Body, err = compact(item.Leaf); err != nil {
					return err
				}
			}
			if err := fn(l); err != nil {
				return err
			}
			next++
		}
	}
	return nil
}

// exportLog writes the log as the caller may see it.
func (c *caller) exportLog(ctx context.Context, log audit.Verifier, dir string) (auditexport.Result, error) {
	point, note, err := c.newest(ctx, &log)
	if err != nil {
		return auditexport.Result{}, err
	}
	w, err := auditexport.Create(dir)
	if err != nil {
		return auditexport.Result{}, &exitError{exitConflict, err}
	}
	defer w.Abandon()
	if err := c.eachLeaf(ctx, point.Size, w.Add); err != nil {
		return auditexport.Result{}, err
	}
	result, err := w.Close(log, note)
	if err != nil {
		return result, fmt.Errorf("%w: %w; fabric audit verify says which leaf", ErrChain, err)
	}
	return result, nil
}

// proveLeaf asks for the proof of a leaf under the newest checkpoint, and
// verifies it when the log's key is known.
func (c *caller) proveLeaf(ctx context.Context, log *audit.Verifier, index int64) (audit.Transcript, []byte, error) {
	if log == nil {
		return audit.Transcript{}, nil, usage(errNoVerifier)
	}
	point, note, err := c.newest(ctx, log)
	if err != nil {
		return audit.Transcript{}, nil, err
	}
	if index >= point.Size {
		return audit.Transcript{}, nil, fmt.Errorf("leaf %d of %d: %w", index, point.Size, audit.ErrRange)
	}
	told, err := v1.Fetch[v1.Proof](c.AuditProof(ctx, &v1.AuditProofParams{Index: index, Size: point.Size}))
	if err != nil {
		return audit.Transcript{}, nil, err
	}
	proof := audit.Transcript{Index: index, Note: note}
	for _, text := range told.Hashes {
		h, err := audit.HashOf(artifact.Digest(text))
		if err != nil {
			return proof, nil, fmt.Errorf("%w: the proof of leaf %d: %w", ErrChain, index, err)
		}
		proof.Hashes = append(proof.Hashes, h)
	}
	page, err := v1.Fetch[v1.LeafPage](c.AuditLeaves(ctx, &v1.AuditLeavesParams{From: index, Limit: 1, Tenant: c.tenant}))
	if err != nil {
		return proof, nil, err
	}
	if len(page.Items) != 1 || page.Items[0].Index != index || len(page.Items[0].Leaf) == 0 {
		return proof, nil, &exitError{exitUnallowed, fmt.Errorf("leaf %d is another tenant's: its hash is all that you may see", index)}
	}
	body, err := compact(page.Items[0].Leaf)
	if err != nil {
		return proof, nil, err
	}
	if _, err := proof.Verify(*log, body); err != nil {
		return proof, nil, fmt.Errorf("%w: %w", ErrChain, err)
	}
	return proof, body, nil
}

// leafHash hashes a leaf's own bytes where they are shown, and compares.
func leafHash(item v1.Leaf) (audit.Hash, error) {
	told, err := audit.HashOf(artifact.Digest(item.Hash))
	if err != nil {
		return told, fmt.Errorf("%w: leaf %d: %w", ErrChain, item.Index, err)
	}
	if len(item.Leaf) == 0 {
		return told, nil
	}
	body, err := compact(item.Leaf)
	if err != nil {
		return told, fmt.Errorf("%w: leaf %d: %w", ErrChain, item.Index, err)
	}
	if audit.LeafHash(body) != told {
		return told, fmt.Errorf("%w: leaf %d does not hash to what the log says", ErrChain, item.Index)
	}
	return told, nil
}

// compact undoes the indentation that transport may have added.
func compact(text json.RawMessage) ([]byte, error) {
	var b bytes.Buffer
	err := json.Compact(&b, text)
	return b.Bytes(), err
}

// missing says that a file which was named is not there.
func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}

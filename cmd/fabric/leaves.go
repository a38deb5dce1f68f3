package main

import (
	"context"
	"encoding/json"
	"fmt"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
)

// A numbered leaf.
type numbered struct {
	index int64
	hash  audit.Hash
	leaf  audit.Leaf
}

// leavesOf returns the leaves that the caller may read.
func (c *caller) leavesOf(ctx context.Context) ([]numbered, error) {
	var all []numbered
	for from := int64(0); ; {
		page, err := v1.Fetch[v1.LeafPage](c.AuditLeaves(ctx, &v1.AuditLeavesParams{From: from, Limit: 200, Tenant: c.tenant}))
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			hash, err := leafHash(item)
			if err != nil {
				return nil, err
			}
			n := numbered{index: item.Index, hash: hash}
			if len(item.Leaf) > 0 {
				if err := json.Unmarshal(item.Leaf, &n.leaf); err != nil {
					return nil, fmt.Errorf("%w: leaf %d: %w", ErrChain, item.Index, err)
				}
			}
			all = append(all, n)
			from = item.Index + 1
		}
		if len(page.Items) < 200 {
			return all, nil
		}
	}
}

// inclusion verifies the proof that a leaf is in the log, and says so.
func (c *caller) inclusion(ctx context.Context, l numbered) string {
	proof, err := v1.Fetch[v1.Proof](c.AuditProof(ctx, &v1.AuditProofParams{Index: l.index}))
	if err != nil {
		return "NOT PROVEN: " + err.Error()
	}
	root, err := audit.HashOf(artifact.Digest(proof.Root))
	if err != nil {
		return "NOT PROVEN: " + err.Error()
	}
	path := make([]audit.Hash, len(proof.Hashes))
	for i, h := range proof.Hashes {
		if path[i], err = audit.HashOf(artifact.Digest(h)); err != nil {
			return "NOT PROVEN: " + err.Error()
		}
	}
	if err := audit.VerifyInclusion(l.index, proof.Size, l.hash, path, root); err != nil {
		return "NOT PROVEN: " + err.Error()
	}
	return fmt.Sprintf("inclusion proof of leaf %d in the tree of %d", l.index, proof.Size)
}

// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"

	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/internal/reading"
	"github.com/otelcol-reflex/reflex/processor/mahalanobisprocessor/internal/metadata"
)

const (
	// indexKey is where the names and ages of all checkpoints are kept: a
	// storage need not be able to list what it holds.
	indexKey = "index"
	// asideSuffix follows the key of the one checkpoint that was set aside last.
	asideSuffix = ".corrupt"

	// checkpointAge is how old a checkpoint gets before it is deleted.
	checkpointAge = 7 * 24 * time.Hour
	// largestCheckpoint is the most that is stored for one baseline, in bytes.
	largestCheckpoint = 1 << 20
	// batchSize is about how much is handed to the storage at once, in bytes.
	batchSize = 1 << 20
)

// checkpoints keeps what baselines have learned in a storage. It is bounded in
// number and age, and safe for concurrent use. Whoever restores waits for no write.
type checkpoints struct {
	version   string // of the dimensions: another version's checkpoints are not found
	most      int
	now       func() time.Time
	logger    *zap.Logger
	telemetry *metadata.TelemetryBuilder
	client    storage.Client

	writing sync.Mutex // held over a write

	mu      sync.Mutex
	index   checkpointIndex
	pending []*storage.Operation // for the next write
	failing bool                 // the storage; said once
}

// checkpointIndex is what the storage holds.
type checkpointIndex struct {
	// Saved maps keys to when they were saved, in seconds since the Unix epoch.
	Saved map[string]int64 `json:"saved"`
	// Aside is the key of what was set aside, if anything was.
	Aside string `json:"aside,omitempty"`
}

// saved is a checkpoint on its way to the storage.
type saved struct {
	key  string
	data []byte
}

// findStorage finds the storage extension called id.
func findStorage(extensions map[component.ID]component.Component, id component.ID) (storage.Extension, error) {
	found, ok := extensions[id]
	if !ok {
		return nil, fmt.Errorf("storage: no extension %q is in service::extensions", id)
	}
	s, ok := found.(storage.Extension)
	if !ok {
		return nil, fmt.Errorf("storage: extension %q is not a storage extension", id)
	}
	return s, nil
}

// open reads the index and deletes what is too old or too much.
func (c *checkpoints) open(ctx context.Context) error {
	c.index.Saved = map[string]int64{}
	data, err := c.client.Get(ctx, indexKey)
	if err != nil {
		return fmt.Errorf("storage: read the index of checkpoints: %w", err)
	}
	if data != nil {
		if err := json.Unmarshal(data, &c.index); err != nil {
			c.logger.Warn("the index of checkpoints is damaged; baselines begin empty", zap.Error(err))
			c.telemetry.ProcessorMahalanobisCheckpointsSetAside.Add(ctx, 1)
			if err := c.empty(ctx); err != nil {
				return fmt.Errorf("storage: delete checkpoints without an index: %w", err)
			}
		}
		if c.index.Saved == nil {
			c.index.Saved = map[string]int64{}
		}
	}
	c.save(ctx, nil)
	return nil
}

// empty deletes what a lost index leaves behind, where the storage can list it.
func (c *checkpoints) empty(ctx context.Context) error {
	c.index = checkpointIndex{}
	walker, ok := c.client.(storage.Walker)
	if !ok {
		return c.client.Delete(ctx, indexKey)
	}
	return walker.Walk(ctx, func(key string, _ []byte) ([]*storage.Operation, error) {
		return []*storage.Operation{storage.DeleteOperation(key)}, nil
	})
}

// streamKey is the key of the checkpoint of a stream.
func (c *checkpoints) streamKey(key reading.Key) string {
	return "baseline/" + c.version + "/" + hex.EncodeToString(key[:])
}

// engineKey is the key of the checkpoint of the engine that judges source.
func (c *checkpoints) engineKey(source string) string {
	return "engine/" + c.version + "/" + source
}

// restore restores to from what is stored under key, if anything is, and says
// whether it did. What cannot be restored is set aside, and to is as it was.
func (c *checkpoints) restore(ctx context.Context, key string, to checkpointer) bool {
	if !c.knows(key) {
		return false
	}
	data, err := c.client.Get(ctx, key)
	switch {
	case err != nil:
		c.failed(ctx, "read a checkpoint", 1, err)
		return false
	case data == nil:
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.index.Saved, key)
		return false
	}
	if err := to.Restore(data); err != nil {
		c.logger.Warn("a checkpoint cannot be used and is set aside; its baseline begins empty",
			zap.String("key", key), zap.String("aside", key+asideSuffix), zap.Error(err))
		c.telemetry.ProcessorMahalanobisCheckpointsSetAside.Add(ctx, 1)
		c.setAside(key, data)
		return false
	}
	c.telemetry.ProcessorMahalanobisCheckpointsRestored.Add(ctx, 1)
	return true
}

func (c *checkpoints) knows(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.index.Saved[key]
	return known
}

// setAside keeps data, with the next write, for whoever wants to know what was
// wrong with it, in place of what was set aside before.
func (c *checkpoints) setAside(key string, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.index.Saved, key)
	c.pending = slices.DeleteFunc(c.pending, func(o *storage.Operation) bool { return o.Type == storage.Set })
	c.pending = append(c.pending, storage.DeleteOperation(key))
	if c.index.Aside != "" {
		c.pending = append(c.pending, storage.DeleteOperation(c.index.Aside))
	}
	c.index.Aside = key + asideSuffix
	c.pending = append(c.pending, storage.SetOperation(c.index.Aside, data))
}

// save stores some checkpoints, with what else waits to be written and what the
// bounds demand to be deleted, and the index that belongs to them.
func (c *checkpoints) save(ctx context.Context, batch []saved) {
	c.writing.Lock()
	defer c.writing.Unlock()
	batch = slices.DeleteFunc(batch, func(s saved) bool {
		large := len(s.data) > largestCheckpoint
		if large {
			c.failed(ctx, "save a checkpoint", 1, fmt.Errorf("%s: %d bytes are more than %d", s.key, len(s.data), largestCheckpoint))
		}
		return large
	})
	c.mu.Lock()
	next := checkpointIndex{Saved: maps.Clone(c.index.Saved), Aside: c.index.Aside}
	pending := c.pending
	c.pending = nil
	c.mu.Unlock()

	operations := slices.Clone(pending)
	for _, s := range batch {
		next.Saved[s.key] = c.now().Unix()
		operations = append(operations, storage.SetOperation(s.key, s.data))
	}
	surplus := next.surplus(c.now().Add(-checkpointAge).Unix(), c.most)
	for _, key := range surplus {
		delete(next.Saved, key)
		operations = append(operations, storage.DeleteOperation(key))
	}
	if len(operations) == 0 {
		return
	}
	index, err := json.Marshal(&next)
	if err == nil {
		err = c.client.Batch(ctx, append(operations, storage.SetOperation(indexKey, index))...)
	}

	if err != nil {
		c.failed(ctx, "write checkpoints", max(len(batch), 1), err)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.pending = append(pending, c.pending...)
		return
	}
	c.telemetry.ProcessorMahalanobisCheckpointsSaved.Add(ctx, int64(len(batch)))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failing = false
	for _, s := range batch {
		c.index.Saved[s.key] = next.Saved[s.key]
	}
	for _, key := range surplus {
		delete(c.index.Saved, key)
	}
}

// surplus returns the keys that were saved before oldest, and the oldest of those
// that are more than most.
func (x *checkpointIndex) surplus(oldest int64, most int) []string {
	keys := slices.SortedFunc(maps.Keys(x.Saved), func(a, b string) int {
		return cmp.Or(cmp.Compare(x.Saved[a], x.Saved[b]), strings.Compare(a, b))
	})
	n := max(0, len(keys)-most)
	for n < len(keys) && x.Saved[keys[n]] < oldest {
		n++
	}
	return keys[:n]
}

// failed counts n checkpoints that the storage failed, and says so once.
func (c *checkpoints) failed(ctx context.Context, doing string, n int, err error) {
	c.telemetry.ProcessorMahalanobisCheckpointsFailed.Add(ctx, int64(n))
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.failing && !errors.Is(err, context.Canceled) {
		c.failing = true
		c.logger.Warn("failed to "+doing+"; baselines go on learning", zap.Error(err))
	}
}

// close gives the storage back.
func (c *checkpoints) close(ctx context.Context) error {
	if err := c.client.Close(ctx); err != nil {
		return fmt.Errorf("storage: close: %w", err)
	}
	return nil
}

// dimensionsVersion tells sets of dimensions apart, in 16 hexadecimal digits. What
// was learned over one set means nothing over another.
func dimensionsVersion(preset string, dims []detect.Dimension) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\n", preset)
	for i := range dims {
		fmt.Fprintf(h, "%+v\n", dims[i])
	}
	return hex.EncodeToString(h.Sum(nil))
}

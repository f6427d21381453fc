// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
)

// memory is a storage extension and its one client.
type memory struct {
	component.StartFunc
	component.ShutdownFunc

	mu      sync.Mutex
	data    map[string][]byte
	fails   error
	writes  int
	open    int
	writing chan struct{} // not nil: a write says that it has begun and waits for release
	release chan struct{}
}

var (
	_ storage.Extension = (*memory)(nil)
	_ storage.Client    = (*memory)(nil)
	_ storage.Walker    = (*memory)(nil)
)

func newMemory() *memory { return &memory{data: map[string][]byte{}} }

func (m *memory) GetClient(_ context.Context, kind component.Kind, _ component.ID, name string) (storage.Client, error) {
	if kind != component.KindProcessor || name != "" {
		return nil, errors.New("not the processor's own")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open++
	if m.open > 1 {
		return nil, errors.New("opened twice")
	}
	return m, nil
}

func (m *memory) Get(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.data[key], m.fails
}

func (m *memory) Set(ctx context.Context, key string, value []byte) error {
	return m.Batch(ctx, storage.SetOperation(key, value))
}

func (m *memory) Delete(ctx context.Context, key string) error {
	return m.Batch(ctx, storage.DeleteOperation(key))
}

func (m *memory) Batch(ctx context.Context, operations ...*storage.Operation) error {
	if m.writing != nil {
		select {
		case m.writing <- struct{}{}:
		case <-m.release:
		}
		<-m.release
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return m.fails
	}
	m.writes++
	for _, o := range operations {
		switch o.Type {
		case storage.Set:
			m.data[o.Key] = slices.Clone(o.Value)
		case storage.Delete:
			delete(m.data, o.Key)
		default:
			o.Value = m.data[o.Key]
		}
	}
	return nil
}

func (m *memory) Walk(ctx context.Context, visit storage.WalkFunc) error {
	var all []*storage.Operation
	for key, value := range maps.Clone(m.data) {
		operations, err := visit(key, value)
		if err != nil && !errors.Is(err, storage.SkipAll) {
			return err
		}
		all = append(all, operations...)
	}
	return m.Batch(ctx, all...)
}

func (m *memory) Close(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open--
	return nil
}

// keys returns what is stored under a prefix.
func (m *memory) keys(prefix string) (keys []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.data {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

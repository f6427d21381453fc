// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"context"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

// socket is a reflexguard behind its unix socket. The client connects lazily
// and again after every failure.
type socket struct{ client *guard.Client }

func dial(path string) link { return socket{guard.Dial(path)} }

func (s socket) Act(ctx context.Context, o arc.Order, out *arc.Outcome) error {
	return s.client.Act(ctx, o, out)
}

func (s socket) Reach(ctx context.Context) ([]guard.NetworkCount, error) {
	status, err := s.client.Status(ctx)
	return status.Network, err
}

// Missing is what reflexguard itself says when asked.
func (s socket) Missing() []need { return nil }

func (s socket) Close() error { return s.client.Close() }

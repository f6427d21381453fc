// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"context"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

// link is the way to a guard.
type link interface {
	arc.Actuator
	// Reach returns no error when the guard answers, and what packets it has judged.
	Reach(ctx context.Context) ([]guard.NetworkCount, error)
	// Missing lists what the guard lacks, as far as this side can tell.
	Missing() []need
	// Close ends the link; an embedded guard releases everything first.
	Close() error
}

// need is one thing that is missing and how to get it.
type need struct {
	Name   string `json:"name"`
	Cause  string `json:"cause,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestDestinationsAreForgottenAfterTheWindow(t *testing.T) {
	var c connections
	c.memory.values = make([]uint64, destinationBuckets)
	at := func(now time.Duration) float64 {
		c.read(now)
		return c.entropy
	}
	half := math.Log(2) / math.Log(destinationBuckets)

	assert.Zero(t, at(0), "no connection yet")
	c.memory.values[3] += 100
	assert.Zero(t, at(100*time.Millisecond), "all to one")
	c.memory.values[4] += 100
	assert.InDelta(t, half, at(3*time.Second), 1e-9)
	assert.InDelta(t, half, at(9*time.Second), 1e-9)
	assert.Zero(t, at(10*time.Second), "those to the first are forgotten")
	assert.Equal(t, uint64(200), c.opened, "but were begun")
	c.memory.values[3] += 100
	assert.InDelta(t, half, at(11500*time.Millisecond), 1e-9)
	assert.Zero(t, at(14*time.Second))
	assert.Zero(t, at(time.Hour))
}

// Whoever did not look for a while takes what came meanwhile for recent.
func TestDestinationsAfterAPause(t *testing.T) {
	var c connections
	c.memory.values = make([]uint64, destinationBuckets)
	c.read(0)
	c.memory.values[3] += 10
	c.read(500 * time.Millisecond)
	c.memory.values[4] += 10
	c.memory.values[5] += 10
	c.read(time.Minute)
	assert.InDelta(t, math.Log(2)/math.Log(destinationBuckets), c.entropy, 1e-9)
}

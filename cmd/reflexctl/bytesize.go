// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/otelcol-reflex/reflex/internal/words"
)

// byteSize is the value of a flag that is a size.
type byteSize int64

// units of a size, the longest first: each ends in the next ones.
var units = []struct {
	name string
	size int64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
}

func (b *byteSize) String() string { return strings.ReplaceAll(words.Bytes(float64(*b)), " ", "") }
func (b *byteSize) Type() string   { return "size" }

func (b *byteSize) Set(text string) error {
	number, unit := strings.TrimSpace(text), int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v >= 0) || v*float64(unit) >= math.MaxInt64 {
		return fmt.Errorf("%q is no size, e.g. 64MiB", text)
	}
	*b = byteSize(v * float64(unit))
	return nil
}

// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package episode

import (
	"fmt"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// named returns the value of T, counted from zero, that calls itself name. The
// first value that calls itself "unknown" ends the search: the arc's types and
// ours all do so behind their last one.
func named[T ~uint8 | ~int](name string, text func(T) string, what string) (T, error) {
	for v := T(0); text(v) != "unknown"; v++ {
		if text(v) == name {
			return v, nil
		}
	}
	return 0, fmt.Errorf("%s %q is not known", what, name)
}

func kindNamed(name string) (Kind, error) { return named(name, Kind.String, "kind") }
func levelNamed(name string) (int, error) { return named(name, LevelName, "level") }
func actionNamed(name string) (arc.Action, error) {
	return named(name, arc.Action.String, "action")
}

func verdictNamed(name string) (arc.Verdict, error) {
	return named(name, arc.Verdict.String, "verdict")
}

// verbNamed does not count: a verb never calls itself unknown.
func verbNamed(name string) (arc.Verb, error) {
	for _, v := range [...]arc.Verb{arc.Hold, arc.Release} {
		if v.String() == name {
			return v, nil
		}
	}
	return 0, fmt.Errorf("verb %q is not known", name)
}

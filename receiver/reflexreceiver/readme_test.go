// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
)

// declared returns the string constants of a file whose names have the prefix.
func declared(t *testing.T, file, prefix string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	require.NoError(t, err)
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, prefix) {
			return true
		}
		if text, ok := spec.Values[0].(*ast.BasicLit); ok && text.Kind == token.STRING {
			value, err := strconv.Unquote(text.Value)
			require.NoError(t, err)
			out = append(out, value)
		}
		return true
	})
	require.NotEmpty(t, out, file)
	return out
}

func TestEverythingEmittedIsInTheReadme(t *testing.T) {
	data, err := os.ReadFile("README.md")
	require.NoError(t, err)
	readme := string(data)
	for _, name := range declared(t, "attributes.go", "attr") {
		assert.Contains(t, readme, "| `"+name+"` |")
	}
	for _, name := range declared(t, "metrics.go", "metric") {
		assert.Contains(t, readme, "| `"+name+"` |")
	}
	for _, name := range declared(t, "logs.go", "event") {
		assert.Contains(t, readme, "| `"+name+"` |")
	}
	for v := arc.VerdictGranted; v.String() != "unknown"; v++ {
		assert.Contains(t, readme, "`"+v.String()+"`")
	}
	for level := 0; episode.LevelName(level) != "unknown"; level++ {
		assert.Contains(t, readme, "`"+episode.LevelName(level)+"`")
	}
}

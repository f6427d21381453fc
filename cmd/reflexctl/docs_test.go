// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const repository = "../.."

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "docs", name))
	require.NoError(t, err)
	return string(text)
}

// tests returns the names of every test of every module.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	names := map[string]bool{}
	require.NoError(t, filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			names[m[1]] = true
		}
		return err
	}))
	return names
}

func TestEveryTestThatTheDocumentsNameExists(t *testing.T) {
	all := tests(t)
	named := regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`)
	for _, name := range []string{"safety.md", "operations.md"} {
		for _, test := range named.FindAllString(document(t, name), -1) {
			assert.True(t, all[test], "docs/%s names %s, which does not exist", name, test)
		}
	}
	assert.Greater(t, len(named.FindAllString(document(t, "safety.md"), -1)), 40, "a promise without a test is none")
}

func TestEveryPromiseNamesATest(t *testing.T) {
	_, promises, found := strings.Cut(document(t, "safety.md"), "| it will never |")
	require.True(t, found)
	promises, _, _ = strings.Cut(promises, "\n\n")
	rows := strings.Split(promises, "\n")[2:]
	assert.Greater(t, len(rows), 15)
	for _, row := range rows {
		cells := strings.Split(row, "|")
		require.Len(t, cells, 5, row)
		assert.Contains(t, cells[3], "`Test", row)
	}
}

func TestEveryCommandIsInTheOperationsDocument(t *testing.T) {
	operations := document(t, "operations.md")
	for _, c := range command().Commands() {
		assert.Contains(t, operations, "`reflexctl "+c.Name()+"`", "a row of the table of commands")
	}
}

func TestTheOperationsDocumentNamesNoCommandThatIsNot(t *testing.T) {
	names := map[string]bool{}
	for _, c := range command().Commands() {
		names[c.Name()] = true
	}
	for _, name := range []string{"safety.md", "operations.md"} {
		for _, m := range regexp.MustCompile(`reflexctl ([a-z-]+)`).FindAllStringSubmatch(document(t, name), -1) {
			assert.True(t, names[m[1]], "docs/%s names reflexctl %s", name, m[1])
		}
	}
}

// TestEveryMetricInTheOperationsDocumentExists looks the metrics up where they
// are documented.
func TestEveryMetricInTheOperationsDocumentExists(t *testing.T) {
	var known strings.Builder
	for _, at := range []string{
		"extension/reflexextension/documentation.md", "receiver/reflexreceiver/documentation.md",
		"receiver/reflexreceiver/README.md", "receiver/ebpfreceiver/documentation.md",
	} {
		text, err := os.ReadFile(filepath.Join(repository, at))
		require.NoError(t, err)
		known.Write(text)
	}
	_, watch, found := strings.Cut(document(t, "operations.md"), "| metric |")
	require.True(t, found)
	watch, _, _ = strings.Cut(watch, "\n\n")
	metrics := regexp.MustCompile("`((?:otelcol_|reflex\\.)[a-z_.]+)`").FindAllStringSubmatch(watch, -1)
	assert.Greater(t, len(metrics), 10)
	for _, m := range metrics {
		assert.Regexp(t, "(### |`)"+regexp.QuoteMeta(m[1])+"(\n|`)", known.String(), m[1])
	}
}

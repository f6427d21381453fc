// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// dataset is what the general rule cannot know about a data set.
type dataset struct {
	// Excluded columns: what was done to the machine, not what it measured.
	Excluded []string
	// Interval in seconds, for data whose time column counts rows.
	Interval float64
}

var datasets = map[string]dataset{
	"nezha": {Excluded: []string{"system_fault", "fault_type"}}, // the injections of the whole system
	"smd":   {Interval: 60},                                     // t is a row index, one row a minute
}

// File is a recording not yet read.
type File struct {
	Dataset, Name, Path string
	Size                int64
}

// Find returns the CSV files below dir in order of their names: the
// subdirectory of dir is the data set, the name of the file without its
// suffixes the recording. Files in dir itself belong to a data set of its name.
func Find(dir string) ([]File, error) {
	var files []File
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("resolve data directory %s: %w", dir, err)
	}
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, isCSV := strings.CutSuffix(strings.TrimSuffix(entry.Name(), ".gz"), ".csv")
		if !isCSV || entry.IsDir() {
			return nil
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		set := filepath.Base(abs)
		if rel, err := filepath.Rel(dir, path); err == nil && filepath.Dir(rel) != "." {
			set = strings.Split(filepath.ToSlash(rel), "/")[0]
		}
		files = append(files, File{Dataset: set, Name: name, Path: path, Size: info.Size()})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for recordings in %s: %w", dir, err)
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files, nil
}

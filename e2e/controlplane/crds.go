package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ApplyCRDs applies custom resource definitions from files, or from the YAML files of folders, and
// returns when their resources are served.
func (c *ControlPlane) ApplyCRDs(ctx context.Context, paths ...string) error {
	if len(paths) == 0 {
		return nil
	}
	args := []string{"apply", "--server-side"}
	for _, path := range paths {
		files, err := crdFiles(path)
		if err != nil {
			return fmt.Errorf("finding custom resource definitions: %w", err)
		}
		for _, file := range files {
			args = append(args, "-f", file)
		}
	}
	if _, err := c.Kubectl(ctx, args...); err != nil {
		return fmt.Errorf("applying custom resource definitions: %w", err)
	}
	return c.untilServed(ctx)
}

func crdFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	all, err := filepath.Glob(filepath.Join(path, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var files []string
	for _, file := range all {
		// It stands beside the definitions and is none.
		if filepath.Base(file) != "kustomization.yaml" {
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s holds no YAML file", path)
	}
	return files, nil
}

// untilServed waits until every custom resource can be listed, and is announced, so that clients find it.
func (c *ControlPlane) untilServed(ctx context.Context) error {
	return c.until(ctx, "all custom resources are served", func() error {
		answer, err := c.get(ctx, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
		if err != nil {
			return err
		}
		var definitions struct {
			Items []struct {
				Spec struct {
					Group    string
					Names    struct{ Plural string }
					Versions []struct {
						Name   string
						Served bool
					}
				}
			}
		}
		if err := json.Unmarshal(answer, &definitions); err != nil {
			return err
		}
		for _, d := range definitions.Items {
			for _, version := range d.Spec.Versions {
				if !version.Served {
					continue
				}
				group := "/apis/" + d.Spec.Group + "/" + version.Name
				if _, err := c.get(ctx, group+"/"+d.Spec.Names.Plural+"?limit=1"); err != nil {
					return err
				}
				announced, err := c.get(ctx, group)
				if err != nil {
					return err
				}
				if !strings.Contains(string(announced), `"`+d.Spec.Names.Plural+`"`) {
					return fmt.Errorf("%s does not announce %s yet", group, d.Spec.Names.Plural)
				}
			}
		}
		return nil
	})
}

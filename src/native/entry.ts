/** The end of a program in C: what Node loads and calls. */

/** The arena begins at a cache line, wherever its array does; in bytes. */
export const alignment = 64;

/** `run`, and what makes it a function that Node can call: its interface for native code, as far as it is used. */
export function entry(main: string, arrays: number): string {
  return `
static int run(char *const *arrays) {
  *(int *)arrays[0] = 0;
${main}  return *(const int *)arrays[0];
}

typedef struct napi_env_ *napi_env;
typedef struct napi_value_ *napi_value;
typedef struct napi_callback_info_ *napi_callback_info;
typedef napi_value (*napi_callback)(napi_env, napi_callback_info);
int napi_get_cb_info(napi_env, napi_callback_info, __SIZE_TYPE__ *, napi_value *, napi_value *, void **);
int napi_get_typedarray_info(napi_env, napi_value, int *, __SIZE_TYPE__ *, void **, napi_value *, __SIZE_TYPE__ *);
int napi_create_int32(napi_env, int, napi_value *);
int napi_create_function(napi_env, const char *, __SIZE_TYPE__, napi_callback, void *, napi_value *);

enum { most = ${arrays} };
static napi_value call(napi_env env, napi_callback_info info) {
  __SIZE_TYPE__ count = most;
  napi_value given[most], result;
  void *arrays[most];
  int failed = napi_get_cb_info(env, info, &count, given, 0, 0) || count != most;
  for (__SIZE_TYPE__ i = 0; !failed && i < count; i++) if (napi_get_typedarray_info(env, given[i], 0, 0, &arrays[i], 0, 0)) arrays[i] = 0;
  arrays[0] = (void *)(((__UINTPTR_TYPE__)arrays[0] + ${alignment - 1}) & -${alignment}ul);
  napi_create_int32(env, failed ? -1 : run((char *const *)arrays), &result);
  return result;
}
__attribute__((visibility("default"))) napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  napi_value run_function;
  return napi_create_function(env, "run", 3, call, 0, &run_function) ? exports : run_function;
}
`;
}

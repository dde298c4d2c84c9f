//! What differences of tensors are, read in pieces.

use super::*;

#[test]
fn the_example_has_the_defaults() {
    let example = Recipe::parse(Recipe::EXAMPLE).unwrap();
    let short = "base = 'models/base'\nability = 'models/math-en'\nreference = 'models/general-en'\n\
                 languages = [{model = 'models/general-es'}, {model = 'models/general-zh'}]\n";
    let short = Recipe::parse(short).unwrap();
    let (text, dtype, masks) = (example.text.clone(), example.dtype, example.masks.clone());
    assert_eq!(example, Recipe { text, dtype, masks: masks.clone(), ..short });
    assert!(example.trainings.is_empty());
    assert_eq!(dtype, Some(Dtype::F32));
    assert_eq!(masks.iter().map(|mask| mask.tuned.len()).collect::<Vec<_>>(), [2, 1]);
    assert!(masks.iter().all(|mask| mask.options == MaskOptions::default()));
}

#[test]
fn errors_name_the_line_and_the_key() {
    let check = |lines: &str, expected: &str| {
        let text = format!("base = 'o'\nability = 'a'\n{lines}");
        let error = Recipe::parse(&text).expect_err(lines).to_string();
        assert!(error.starts_with(expected), "{lines}: {error}");
    };
    let with = |more: &str| format!("reference = 'r'\nlanguages = [{{model = 'x'}}]\n{more}");
    check("languages = [{model = 'x'}]", "line 1: reference: is missing; name the model");
    check("reference = 'r'", "line 1: languages: is missing; add a [[languages]] table");
    check("reference = 'r'\nlanguages = []", "line 4: languages: is an empty list;");
    check("languages = 7", "line 3: languages: `7` is not a list;");
    check("reference = 'r'\nlanguages = ['x']", "line 4: languages.0: `x` is not a table;");
    check(
        "reference = 'r'\n[[languages]]\nmodel = 'x'\n[[languages]]\nwieght = 1",
        "line 7: languages.1.wieght: is not a known key; did you mean `weight`?",
    );
    check("languages = [{weight = 1}]", "line 3: languages.0.model: is missing;");
    check(
        "alpha = 0\nbeta = 0\nlanguages = [{model = 'x', weight = 0}]",
        "line 5: languages: have no weight, and the ability has none;",
    );
    check("beta = 0\nlanguages = [{model = 'x', beta = 1}]", "line 1: reference: is missing;");
    check(&with("alhpa = 1"), "line 5: alhpa: is not a known key; did you mean `alpha`?");
    check(&with("alpha = '1'"), "line 5: alpha: `1` is not a finite number; write a finite number");
    check(&with("alpha = nan"), "line 5: alpha: `nan` is not a finite number;");
    check(&with("gamma = 1e9"), "line 5: gamma: 1000000000 is not between -1000 and 1000;");
    check(&with("k2 = 80"), "line 5: k2: 80 is not between 0 and 1; a share is meant: 0.8 for 80 %");
    check(&with("similarity = 'cos'"), "line 5: similarity: `cos` is not among the known;");
    check(
        &with("filter = 'atention'"),
        "line 5: filter: `atention` is not among the known; did you mean `attention`?",
    );
    check(&with("filter = []"), "line 5: filter: is an empty list;");
    check(&with("filter = [1]"), "line 5: filter.0: `1` is not a text;");
    check(
        &with("rank_among = 'some'"),
        "line 5: rank_among: `some` is not among the known; known are all, filtered",
    );
    check(
        &with("dtype = 'bfloat'"),
        "line 5: dtype: `bfloat` is not among the known; did you mean `bfloat16`?",
    );
    check(&with("[ablation]\ntransfer = 1"), "line 6: ablation.transfer: `1` is not true or false;");
    check(
        &with("[ablation]\ntransfr = true"),
        "line 6: ablation.transfr: is not a known key; did you mean `transfer`?",
    );
    check(&with("ablation = 3"), "line 5: ablation: `3` is not a table;");
    check(&with("[[masks]]\ntuned = []\nout = 'm'"), "line 6: masks.0.tuned: is an empty list;");
    check(&with("[[masks]]\nout = 'm'"), "line 5: masks.0.tuned: is missing;");
    check(&with("[[masks]]\ntuned = ['t']"), "line 5: masks.0.out: is missing;");
    check(
        &with("[[masks]]\ntuned = ['t']\nout = 'm'\ndensity = 5"),
        "line 8: masks.0.density: 5 is not between",
    );
    check(&with("[[masks]]\ntuned = ['t']\nout = 'm'\ncap = 0.5"), "line 5: masks.0: cap 0.5 is neither 0");
    check(
        &with("[[masks]]\ntuned = ['t']\nout = 'm'\nneurons = 'rwo'"),
        "line 8: masks.0.neurons: `rwo` is not",
    );
    check("reference = 'a@b@c'\nlanguages = [{model = 'x'}]", "line 3: reference: `a@b@c` has two revisions");
    check("ability = 'b'", "line 3, column 1: ");
    check("alpha = ", "line 3, column 9: ");
}

#[test]
fn the_base_has_learnt_no_ability() {
    let error =
        Recipe::parse("base = 'o'\nability = 'o'\nbeta = 0\nlanguages = [{model = 'x'}]").expect_err("one");
    assert!(error.to_string().starts_with("line 2: ability: is the base itself"), "{error}");
}

#[test]
fn a_mask_without_key_neurons_keeps_all() {
    let text = format!("{}\nkey_neurons = false\n", Recipe::EXAMPLE.replace("key_neurons = true\n", ""));
    let recipe = Recipe::parse(&text).unwrap();
    assert!(recipe.masks.iter().all(|mask| mask.options.density == 1.0));
}

#[test]
fn texts_in_place_of_models_are_trained() {
    let text = "base = 'o'\nlanguages = [{texts = 'es.txt', name = 'es'}, {model = 'zh'}]\n[training]\nfolder = 'f'\n\
                tokens = 1000\nability_texts = ['a.txt', 'b.jsonl']\ngeneral_texts = 'g.txt'\nability_share = 0.25";
    let recipe = Recipe::parse(text).unwrap();
    let path = |model: &ModelReference| model.path.clone();
    assert_eq!(path(&recipe.ability), "f/models/ability/model");
    assert_eq!(recipe.reference.as_ref().map(path).as_deref(), Some("f/models/general/model"));
    let languages: Vec<String> = recipe.languages.iter().map(|language| path(&language.model)).collect();
    assert_eq!(languages, ["f/models/es/model", "zh"]);
    let folders = |masked| {
        let of_kind = recipe.trainings.iter().filter(move |training| training.is_masked() == masked);
        of_kind.map(|training| training.folder.to_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(folders(false), ["f/probes/ability", "f/probes/general", "f/probes/es"]);
    assert_eq!(folders(true), ["f/models/ability", "f/models/general", "f/models/es"]);
    let tuned: Vec<usize> = recipe.masks.iter().map(|mask| mask.tuned.len()).collect();
    assert_eq!(tuned, [2, 1, 1]);
    let ability =
        recipe.trainings.iter().find(|training| training.folder.ends_with("models/ability")).unwrap();
    let cpt = ability.request.method.as_ref().unwrap().cpt.as_ref().unwrap();
    let shares: Vec<_> = cpt.corpora.iter().map(|corpus| corpus.proportion).collect();
    assert_eq!((shares, cpt.max_tokens), (vec![Some(0.25), Some(0.75)], Some(1000)));
    assert_eq!(cpt.hyperparameters.learning_rate, Some(5e-5));

    let all =
        Recipe::parse(&text.replace("[training]", "[ablation]\nkey_neurons = false\n[training]")).unwrap();
    assert!(all.masks.is_empty() && all.trainings.iter().all(|training| !training.is_masked()));
    assert_eq!(all.trainings.len(), 3);

    let check = |from: &str, to: &str, expected: &str| {
        let error = Recipe::parse(&text.replace(from, to)).expect_err(to).to_string();
        assert!(error.starts_with(expected), "{to}: {error}");
    };
    check("base = 'o'", "base = 'o'\nability = 'x'", "line 2: ability: stands beside texts");
    check("base = 'o'", "base = 'o+l'", "line 3: training: begins from a base with an adapter");
    check("tokens = 1000\n", "", "line 3: training.tokens: is missing;");
    check("ability_share = 0.25", "ability_share = 25", "line 8: training.ability_share: 25 is not between");
    check("model = 'zh'", "texts = 'zh.txt', name = 'es'", "line 2: languages.1.texts: of two languages");
    check("'es.txt'", "[]", "line 2: languages.0.texts: is an empty list;");
    check("name = 'es'", "name = '../x'", "line 2: languages.0.name: `../x` cannot name");
    let with = |more: &str| format!("ability_share = 0.25\nhyperparameters = {{ {more} }}");
    check("ability_share = 0.25", &with("n_epochs = 2"), "line 9: training.hyperparameters: has n_epochs");
    check(
        "ability_share = 0.25",
        &with("dtype = 'f64'"),
        "line 9: training.hyperparameters: dtype: \"f64\" is none",
    );
    check(
        "ability_share = 0.25",
        &with("larning_rate = 1"),
        "line 9: training.hyperparameters: unknown field",
    );
}
